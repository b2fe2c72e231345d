"""Postgres dies or goes away under load: nothing is lost, nothing comes twice, memory keeps its ceiling."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from firehose_indexer.config import Settings
from firehose_indexer.database import generated_views
from firehose_indexer.records.registry import Registry
from firehose_indexer.sim.relay import Relay
from firehose_indexer.sim.wire import Emitted
from firehose_indexer.sim.world import World
from firehose_indexer.store.embedded import EmbeddedPostgres
from firehose_indexer.store.migrations import migrate
from tests.oracle.compare import check
from tests.oracle.reading import Oracle
from tests.oracle.repos import Repos, did
from tests.rig import UNTIL_SECONDS, program, reached, watermark

SMALL = {"STREAM_QUEUE_MB": "4", "BATCH_MB": "1"}
CEILING_MB = Settings(stream_queue_mb=4, batch_mb=1).fixed_mb
"""What README and ``config.Settings.fixed_mb`` promise for these settings."""


@pytest.fixture
async def own_server(data_dir: Path) -> AsyncIterator[EmbeddedPostgres]:
    """A server that a test may stop without hurting its neighbours."""
    server = EmbeddedPostgres(data_dir, durable=False, elsewhere=data_dir / "elsewhere")
    await server.start()
    await migrate(server.url, after=generated_views(Registry.discover()))
    yield server
    await server.stop("immediate")


@pytest.mark.timeout(600)
async def test_postgres_stopped_in_the_middle_of_batches_loses_nothing(
    own_server: EmbeddedPostgres, long: bool
) -> None:
    stops = 25 if long else 2
    events = World(31, 30, odd=True).take(700 * stops)
    async with Relay(window=100_000) as relay, program(own_server.url, relay.url, BATCH_OPS="20") as process:
        feeding = asyncio.create_task(relay.feed(events, rate=400))
        written = 0
        for _ in range(stops):
            await reached(own_server.url, written + 150, process)
            await own_server.stop("immediate")
            await own_server.start()
            written = await watermark(own_server.url)
            assert written < events[-1].seq, "the stream had ended: nothing was being written"
        await feeding
        await reached(own_server.url, events[-1].seq, process)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(UNTIL_SECONDS):
            assert await process.wait() == 0
    await check(own_server.url, Oracle().read(event.frame for event in events))


@pytest.mark.timeout(600)
async def test_while_postgres_is_away_memory_keeps_its_ceiling(
    own_server: EmbeddedPostgres, long: bool
) -> None:
    """The relay sends as fast as it is read; once every queue is full it is not read any more."""
    away = 60 if long else 4
    wide = Wide()
    async with Relay(window=400) as relay, program(own_server.url, relay.url, **SMALL) as process:
        feeding = asyncio.create_task(relay.feed(wide))
        await reached(own_server.url, 200, process)
        await own_server.stop("immediate")
        await asyncio.sleep(away / 2)
        blocked_at = relay.newest
        peak = 0.0
        for _ in range(away * 5):
            peak = max(peak, resident_mb(process.pid))
            await asyncio.sleep(0.1)
        assert relay.newest == blocked_at, "the relay was still being read"
        assert peak < CEILING_MB
        await own_server.start()
        await reached(own_server.url, blocked_at + 200, process)
        wide.end()
        await feeding
        await reached(own_server.url, relay.newest, process)
        assert resident_mb(process.pid) < CEILING_MB
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(UNTIL_SECONDS):
            assert await process.wait() == 0
    await check(own_server.url, Oracle().read(wide.frames))


class Wide:
    """Commits of 50 KB each, without end until told; remembers what it gave."""

    def __init__(self) -> None:
        self._repos = Repos()
        self._ended = False

    @property
    def frames(self) -> list[bytes]:
        return self._repos.frames

    def end(self) -> None:
        self._ended = True

    def __iter__(self) -> Iterator[Emitted]:
        while not self._ended:
            name = f"writer {self._repos.seq % 50}"
            text = {"$type": "com.example.wide", "text": f"{self._repos.seq:09}" * 5_500}
            self._repos.does(name, f"+com.example.wide/r{self._repos.seq}", text)
            yield Emitted(self._repos.seq, did(name), self._repos.frames[-1])


def resident_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"process {pid} is gone")
