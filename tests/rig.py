"""The real pipeline under test: in this process against a database, or as the program against a relay."""

from __future__ import annotations

import asyncio
import io
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg

from firehose_indexer.config import Settings
from firehose_indexer.database import opened
from firehose_indexer.indexer import Indexer, no_checkpoint
from firehose_indexer.log import Log
from firehose_indexer.metrics import Metrics
from firehose_indexer.ops.console import Console
from firehose_indexer.ops.stage import Stage
from firehose_indexer.records.registry import Registry
from firehose_indexer.shutdown import Shutdown
from firehose_indexer.store.writer import Checkpoint
from firehose_indexer.stream.intake import Intake
from firehose_indexer.stream.source import Source
from firehose_indexer.stream.status import Deliver, SessionStatus
from firehose_indexer.vitals import Vitals

ROOT = Path(__file__).parents[1]
SOURCE = Source("relay.test", "wss://relay.test/xrpc/com.atproto.sync.subscribeRepos")
CHUNK = 256
UNTIL_SECONDS = 90.0
"""How long a test waits for something that must come; never reached by a sound run."""


class Frames:
    """Messages in memory, run as if a relay had sent them: what cannot be read costs a reconnect."""

    def __init__(self, frames: Sequence[bytes], position: Callable[[Source], Any]) -> None:
        self.status = SessionStatus(SOURCE)
        self._frames = frames
        self._position = position

    async def run(self, deliver: Deliver) -> None:
        intake = Intake()
        position = await self._position(SOURCE)
        intake.connected(position)
        for start in range(0, len(self._frames), CHUNK):
            left = list(self._frames[start : start + CHUNK])
            while left:
                taken = intake.take(left)
                left = left[taken.used :]
                if taken.items:
                    await deliver(SOURCE, taken.items)
                if taken.stop is not None:
                    intake.connected(position)


def settings_for(dsn: str, **changed: Any) -> Settings:
    """Batches that close on size alone, so that a run is the same every time."""
    return Settings(**{"database_url": dsn, "db_pool_size": 4, "batch_milliseconds": 60_000} | changed)


@asynccontextmanager
async def indexer(
    dsn: str, checkpoint: Checkpoint = no_checkpoint, **changed: Any
) -> AsyncIterator[tuple[Indexer, Shutdown]]:
    """An indexer that holds the writer lock of ``dsn``."""
    settings = settings_for(dsn, **changed)
    log = Log("ERROR", "json", stream=io.StringIO())
    shutdown = Shutdown(60)
    registry = Registry.discover()
    async with opened(settings, Stage(Console(io.StringIO()), log, shutdown), registry) as database:
        metrics = Metrics(collection.nsid for collection in registry.collections)
        vitals = Vitals(metrics, verify="off", memory_mb=settings.memory_mb)
        yield Indexer(settings, database, vitals, checkpoint), shutdown


async def feed(
    dsn: str, frames: Iterable[bytes], checkpoint: Checkpoint = no_checkpoint, **changed: Any
) -> Indexer:
    """Index ``frames`` from where the database stands; returns when all is committed."""
    async with indexer(dsn, checkpoint, **changed) as (built, shutdown):
        await built.follow(Frames(list(frames), built.watermarks.of), shutdown)
        return built


@asynccontextmanager
async def program(
    dsn: str, relay: str, *arguments: str, **environment: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """The indexer as a process of its own; ``arguments`` replace ``-m firehose_indexer run``."""
    changed = {
        "DATABASE_URL": dsn,
        "RELAY_URL": relay,
        "CURSOR_START": "oldest",
        "HTTP_BIND": "127.0.0.1:0",
        "LOG_LEVEL": "WARNING",
        "DB_POOL_SIZE": "4",
        **environment,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *(arguments or ("-m", "firehose_indexer", "run")),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **changed},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def watermark(dsn: str) -> int:
    """How far the database is; 0 before the first commit."""
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval("select coalesce(max(watermark), 0) from ix.stream_cursors")
    finally:
        await connection.close()


async def reached(dsn: str, seq: int, process: asyncio.subprocess.Process) -> None:
    """Wait until ``seq`` is committed. Raises AssertionError when the process ends before."""
    async with asyncio.timeout(UNTIL_SECONDS):
        while await watermark(dsn) < seq:
            assert process.returncode is None, f"the indexer ended with {process.returncode}"
            await asyncio.sleep(0.1)


async def execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
