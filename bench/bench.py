"""Measure the indexer end to end: a relay on loopback, the real process, a real Postgres, on this machine.

    python bench/bench.py [NAME ...] [--events 200000] [--likes 20000000] [--rounds 1]

Prints one JSON object per line: name, events_per_s, client_us_per_event, postgres_us_per_event, rss_mb,
bytes_per_op. CPU is what the kernel charged to the process, and to Postgres with all its children, between
the first and the last committed event. Wall time depends on what else the machine does; CPU time hardly.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import NamedTuple

import asyncpg

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.crowd import fill_likes
from bench.make_frames import Workload, ensure
from firehose_indexer.store.embedded import EmbeddedPostgres

TICKS = os.sysconf("SC_CLK_TCK")
ROOT = Path(__file__).resolve().parent.parent


class Scenario(NamedTuple):
    """``settings`` are environment variables of the indexer; ``likes`` stand in the table before."""

    name: str
    settings: dict[str, str]
    likes: int = 0


def scenarios(likes: int) -> list[Scenario]:
    return [
        Scenario("live-verify-off", {}),
        Scenario("live-verify-off-full-tables", {}, likes),
    ]


class Reading(NamedTuple):
    """One look at the run: committed seq, wall seconds, CPU seconds of the client and of Postgres."""

    seq: int
    wall: float
    client: float
    postgres: float


def cpu_seconds(pid: int, *, with_reaped: bool = False) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(int(field) for field in fields[11 : 15 if with_reaped else 13]) / TICKS


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def server_seconds(postmaster: int) -> float:
    total = cpu_seconds(postmaster, with_reaped=True)
    for child in children(postmaster):
        try:
            total += cpu_seconds(child)
        except FileNotFoundError:
            continue
    return total


def peak_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


@contextmanager
def feeder(recording: Path) -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "bench" / "feeder.py"), str(recording)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


@contextmanager
def indexer(relay: str, dsn: str, settings: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    environment = {
        **os.environ,
        **{"RELAY_URL": relay, "DATABASE_URL": dsn, "CURSOR_START": "oldest", "HTTP_BIND": "127.0.0.1:0"},
        **{"LOG_LEVEL": "WARNING", **settings},
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "firehose_indexer", "run"], env=environment, cwd=tempfile.gettempdir()
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


@asynccontextmanager
async def server() -> AsyncIterator[tuple[str, int]]:
    """A new cluster with the settings that a user gets; its DSN and postmaster."""
    with tempfile.TemporaryDirectory(prefix="firehose-bench-") as folder:
        Path(folder).chmod(0o755)
        postgres = EmbeddedPostgres(Path(folder))
        await postgres.start()
        try:
            postmaster = int(next(postgres.home.rglob("postmaster.pid")).read_text().split()[0])
            yield postgres.url, postmaster
        finally:
            await postgres.stop("immediate")


async def run(scenario: Scenario, recording: Path, events: int) -> dict[str, object]:
    async with server() as (dsn, postmaster):
        with feeder(recording) as relay:
            if scenario.likes:
                await prepare(dsn, scenario)
            size = await database_size(dsn)
            with indexer(relay, dsn, scenario.settings) as process:
                readings = await follow(dsn, process, postmaster, events)
                rss = peak_mb(process.pid)
        operations = await grown(dsn)
        size = await database_size(dsn) - size
    first, last = readings[0], readings[-1]
    done = last.seq - first.seq
    return {
        "name": scenario.name,
        "events_per_s": round(done / (last.wall - first.wall)),
        "client_us_per_event": round((last.client - first.client) / done * 1e6, 1),
        "postgres_us_per_event": round((last.postgres - first.postgres) / done * 1e6, 1),
        "rss_mb": round(rss, 1),
        "bytes_per_op": round(size / operations, 1),
    }


async def prepare(dsn: str, scenario: Scenario) -> None:
    """Lets the indexer make its schema, then fills the table of likes."""
    migrated = subprocess.run(
        [sys.executable, "-m", "firehose_indexer", "migrate"],
        env={**os.environ, "DATABASE_URL": dsn},
        cwd=tempfile.gettempdir(),
        stdout=subprocess.DEVNULL,
        check=True,
    )
    assert migrated.returncode == 0
    await fill_likes(dsn, scenario.likes)


async def follow(dsn: str, process: subprocess.Popen[bytes], postmaster: int, events: int) -> list[Reading]:
    """Readings from the first committed event to the last."""
    connection = await asyncpg.connect(dsn)
    readings: list[Reading] = []
    deadline = time.monotonic() + 900
    while not readings or readings[-1].seq < events:
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"the indexer ended or hung after {readings[-1:] or 'nothing'}")
        await asyncio.sleep(0.05)
        try:
            seq = await connection.fetchval("select max(watermark) from ix.stream_cursors")
        except asyncpg.UndefinedTableError:
            continue
        if seq is not None and (not readings or seq > readings[-1].seq):
            readings.append(
                Reading(seq, time.monotonic(), cpu_seconds(process.pid), server_seconds(postmaster))
            )
    await connection.close()
    return readings


async def database_size(dsn: str) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        found: int = await connection.fetchval("select pg_database_size(current_database())")
        return found
    finally:
        await connection.close()


async def grown(dsn: str) -> int:
    """Record operations that the run put into tables."""
    connection = await asyncpg.connect(dsn)
    try:
        tables = ("posts", "likes", "reposts", "follows", "blocks", "profiles", "generic_records")
        counts = " + ".join(f"(select count(*) from ix.{table})" for table in tables)
        found: int = await connection.fetchval(f"select {counts}")
        like = await connection.fetchrow(
            "select pg_relation_size('ix.likes') as heap, pg_indexes_size('ix.likes') as indexes, "
            "(select count(*) from ix.likes) as rows"
        )
        heap, indexes = like["heap"] / max(1, like["rows"]), like["indexes"] / max(1, like["rows"])
        sys.stderr.write(f"a like row: {heap:.1f} B and {indexes:.1f} B of indexes, {like['rows']} rows\n")
        return found
    finally:
        await connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--likes", type=int, default=20_000_000)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    recording = ensure(Workload(events=options.events))
    for scenario in scenarios(options.likes):
        if not options.names or scenario.name in options.names:
            for _ in range(options.rounds):
                result = asyncio.run(run(scenario, recording, options.events))
                sys.stdout.write(json.dumps(result) + "\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
