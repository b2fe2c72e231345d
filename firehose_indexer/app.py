"""The composition root: settings become running tasks, and a drained exit (design §8).

Everything is built here and nowhere else. One TaskGroup owns all tasks; ``drained`` ends them in the
order in which data flows.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from firehose_indexer.apply import Applier
from firehose_indexer.config import Settings
from firehose_indexer.errors import ConfigError, SchemaError
from firehose_indexer.log import Log
from firehose_indexer.metrics import Metrics
from firehose_indexer.ops.console import Console
from firehose_indexer.pipeline import Limits, Pipeline
from firehose_indexer.process import spare_the_collector
from firehose_indexer.records.registry import Registry
from firehose_indexer.server.http import HttpServer
from firehose_indexer.server.ready import Ready
from firehose_indexer.server.status import CacheStatus, DatabaseStatus, QueueStatus
from firehose_indexer.shutdown import Shutdown
from firehose_indexer.store import migrations
from firehose_indexer.store.actors import Actors
from firehose_indexer.store.chains import Chains
from firehose_indexer.store.embedded import EmbeddedPostgres
from firehose_indexer.store.lane import Lane
from firehose_indexer.store.lock import WriterLock
from firehose_indexer.store.notices import notifications_view
from firehose_indexer.store.pool import connect_pool
from firehose_indexer.store.watermarks import Watermarks
from firehose_indexer.store.writer import Checkpoint, Writer
from firehose_indexer.stream.recording import ReplaySession
from firehose_indexer.stream.session import Session
from firehose_indexer.stream.source import parse_source
from firehose_indexer.stream.status import SessionStatus
from firehose_indexer.stream.transport import Dialing
from firehose_indexer.version import version
from firehose_indexer.vitals import Vitals

SHARD = "0/1"
CACHED_REPOS = 100_000
"""Chains and actor ids of a generation in memory: about 60 MB in all."""
CONTACT = "https://github.com/firehose-indexer"


class Streaming(Protocol):
    """A session or a recording."""

    status: SessionStatus

    async def run(self, deliver: Any) -> None: ...


class Stage(NamedTuple):
    """Where a job talks, logs and learns that it should stop."""

    console: Console
    log: Log
    shutdown: Shutdown


async def no_checkpoint(_name: str) -> None:
    """Named points of a batch, where tests kill the process; nothing happens there in earnest."""


class Database(NamedTuple):
    """A migrated database whose writer lock is ours."""

    pool: Any
    lock: WriterLock
    registry: Registry
    ensure: Callable[[], Awaitable[object]]
    described: str


class Indexer:
    """The way from a stream to committed rows, built for one database."""

    def __init__(
        self, settings: Settings, database: Database, vitals: Vitals, checkpoint: Checkpoint = no_checkpoint
    ) -> None:
        self.database = database
        self.vitals = vitals
        self.chains = Chains(database.pool, CACHED_REPOS)
        self.actors = Actors(CACHED_REPOS)
        writer = Writer(database.registry, self.actors, code_version=version(), checkpoint=checkpoint)
        self.lane = Lane(
            database.pool,
            writer,
            self.actors,
            self.chains,
            database.lock,
            vitals,
            checkpoint=checkpoint,
            ensure_database=database.ensure,
        )
        self.pipeline = Pipeline(
            self.chains,
            Applier(database.registry, self.chains),
            self.lane,
            Limits(settings.batch_ops, settings.batch_mb << 20, settings.batch_milliseconds / 1000),
        )
        self.watermarks = Watermarks(database.pool)
        vitals.lock_held = lambda: database.lock.held
        vitals.schema_current = True
        vitals.caches = lambda: {
            "chains": CacheStatus(len(self.chains), 2 * CACHED_REPOS),
            "actors": CacheStatus(len(self.actors), 2 * CACHED_REPOS),
        }

    async def follow(self, stream: Streaming, shutdown: Shutdown) -> None:
        """Runs until ``shutdown`` is requested or the stream ends by itself; then drains.

        Raises what the first failing task raised.
        """
        await self.actors.load_collections(self.database.pool)
        spare_the_collector()
        vitals, lane = self.vitals, self.lane
        vitals.session = stream.status
        vitals.phase = "running"
        async with asyncio.TaskGroup() as tasks:
            kept = [
                tasks.create_task(self.database.lock.keep(), name="lock"),
                tasks.create_task(self.pipeline.run(), name="pipeline"),
                tasks.create_task(vitals.heartbeat(), name="heartbeat"),
                tasks.create_task(vitals.refresh(self.database.pool), name="tallies"),
            ]
            writing = tasks.create_task(lane.run(), name="lane")
            reading = tasks.create_task(stream.run(self.pipeline.deliver), name="stream")
            asked = tasks.create_task(shutdown.wait(), name="shutdown")
            await asyncio.wait((reading, asked), return_when=asyncio.FIRST_COMPLETED)
            vitals.phase = "draining"
            reading.cancel()
            await asyncio.wait((reading,))
            await self.pipeline.finish()
            await writing
            for task in (*kept, asked):
                task.cancel()
        vitals.phase = "ended"


@asynccontextmanager
async def opened(settings: Settings, stage: Stage) -> AsyncIterator[Database]:
    """The database of ``settings``: started if embedded, locked, migrated, pooled.

    Raises DatabaseError, SchemaError, WriterLocked.
    """
    registry = Registry.discover()
    async with _server(settings, stage) as (dsn, ensure, described):
        lock = WriterLock(dsn, SHARD, version=version())
        await lock.acquire(wait_seconds=settings.db_wait_seconds)
        try:
            await _migrate(settings, dsn, registry, stage)
            await lock.claim()
            pool = await connect_pool(
                dsn,
                settings.db_pool_size,
                statement_seconds=settings.db_statement_seconds,
                wait_seconds=settings.db_wait_seconds,
            )
            try:
                yield Database(pool, lock, registry, ensure, described)
            finally:
                await _close(pool)
        finally:
            await lock.release()


@asynccontextmanager
async def _server(
    settings: Settings, stage: Stage
) -> AsyncIterator[tuple[str, Callable[[], Awaitable[object]], str]]:
    if settings.database_url is not None:
        yield settings.database_url, _given, "from DATABASE_URL"
        return
    begun = time.monotonic()
    embedded = EmbeddedPostgres(settings.data_dir, progress=stage.console.say)
    await embedded.start()
    described = f"embedded PostgreSQL {embedded.version} in {embedded.home}"
    stage.console.step("database", described, time.monotonic() - begun)
    try:
        yield embedded.url, embedded.ensure_running, described
    finally:
        await embedded.stop()


async def _given() -> None:
    """A server that somebody else runs is only waited for."""


async def _migrate(settings: Settings, dsn: str, registry: Registry, stage: Stage) -> None:
    begun = time.monotonic()
    generated = [notifications_view(registry.collections)]
    if settings.migrate:
        done = await migrations.migrate(dsn, after=generated)
        stage.console.step("schema", f"{len(done.applied)} migrations applied", time.monotonic() - begun)
    elif not (await migrations.status(dsn, after=generated)).current:
        raise SchemaError(
            "the database's schema is not this version's, and MIGRATE is 0",
            hint="firehose-indexer migrate, or run with MIGRATE=1",
        )


async def _close(pool: Any) -> None:
    """A connection that hangs must not hold up the exit: everything worth keeping is committed."""
    try:
        async with asyncio.timeout(5):
            await pool.close()
    except TimeoutError:
        pool.terminate()


async def run(settings: Settings, *, console: Console, log: Log, shutdown: Shutdown) -> None:
    """The main job: follow the relay until asked to stop."""
    stage = Stage(console, log, shutdown)
    sources = [
        parse_source(text, allow_insecure=settings.stream_allow_insecure) for text in settings.relay_url
    ]
    console.title(f"firehose-indexer {version()}")
    async with opened(settings, stage) as database:
        metrics, vitals = _instruments(settings, database)
        indexer = Indexer(settings, database, vitals)
        session = Session(
            sources,
            dialing(settings),
            metrics,
            position=indexer.watermarks.of,
            other_position=indexer.watermarks.of_another,
            cursor_start=settings.cursor_start,  # type: ignore[arg-type]
            future_cursor=settings.future_cursor,  # type: ignore[arg-type]
        )
        position = await indexer.watermarks.of(sources[0])
        where = f"resuming at seq {position.watermark}" if position else f"from {settings.cursor_start}"
        console.step("relay", f"{sources[0].host}, {where}")
        async with _served(settings, vitals, metrics, stage):
            await indexer.follow(session, shutdown)


async def replay(
    settings: Settings,
    path: Path,
    *,
    speed: float | None,
    identities: Path | None,
    force: bool,
    console: Console,
    log: Log,
    shutdown: Shutdown,
) -> None:
    """Index a recording; ends when its last event is committed."""
    stage = Stage(console, log, shutdown)
    async with opened(settings, stage) as database:
        metrics, vitals = _instruments(settings, database)
        indexer = Indexer(settings, database, vitals)
        recording = ReplaySession(path, speed, position=indexer.watermarks.of, metrics=metrics)
        other = await indexer.watermarks.of_another(recording.source)
        if other is not None and not force:
            raise ConfigError(
                "this database follows another source",
                hint="replay into an empty database, or say --force",
            )
        async with _served(settings, vitals, metrics, stage):
            await indexer.follow(recording, shutdown)
        pulse = vitals.pulse()
        console.say(f"replayed {path.name}: seq {pulse.seq}, {pulse.dropped} in quarantine")


async def record(
    settings: Settings,
    path: Path,
    *,
    seconds: float | None,
    frames: int | None,
    console: Console,
    log: Log,
    shutdown: Shutdown,
) -> None:
    """Save a relay's frames; needs no database."""
    raise NotImplementedError


@asynccontextmanager
async def _served(
    settings: Settings, vitals: Vitals, metrics: Metrics, stage: Stage
) -> AsyncIterator[None]:
    """The HTTP server and the live line, around the work they show."""
    ready = Ready(
        lag_seconds=settings.ready_lag_seconds, quarantine_bytes=settings.quarantine_max_mb << 20
    )
    server = HttpServer(settings.http_bind, vitals, ready, metrics)
    await server.start()
    stage.console.step("status", f"http://{settings.http_bind.host}:{server.port}/status")
    shown = asyncio.ensure_future(stage.console.follow(vitals.pulse, stage.log.logger))
    try:
        yield
    finally:
        shown.cancel()
        await asyncio.wait((shown,))
        await server.stop()


def _instruments(settings: Settings, database: Database) -> tuple[Metrics, Vitals]:
    metrics = Metrics(collection.nsid for collection in database.registry.collections)
    vitals = Vitals(metrics, verify=settings.verify, memory_mb=settings.memory_mb)
    pool = database.pool
    vitals.database = lambda: DatabaseStatus(
        server=database.described,
        schema=0,
        size=pool.get_size(),
        idle=pool.get_idle_size(),
        waiting=0,
    )
    return metrics, vitals


def dialing(settings: Settings) -> Dialing:
    """How this program introduces itself to a relay."""
    return Dialing(
        user_agent=f"firehose-indexer/{version()} (+{CONTACT})",
        queue_bytes=settings.stream_queue_mb << 20,
    )
