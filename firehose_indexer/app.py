"""The composition root: settings become running tasks, and a drained exit (design §8).

Two jobs: ``run`` follows a relay, ``replay`` a recording.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

from firehose_indexer.config import Settings
from firehose_indexer.database import Database, opened
from firehose_indexer.errors import ConfigError
from firehose_indexer.identity.file import read_identities
from firehose_indexer.indexer import Indexer, no_checkpoint
from firehose_indexer.log import Log
from firehose_indexer.metrics import Metrics
from firehose_indexer.ops.console import Console, duration
from firehose_indexer.ops.dump import dump
from firehose_indexer.ops.stage import Stage
from firehose_indexer.records.registry import Registry
from firehose_indexer.server.http import HttpServer
from firehose_indexer.server.ready import Ready
from firehose_indexer.server.status import DatabaseStatus
from firehose_indexer.shutdown import Shutdown
from firehose_indexer.store.writer import Checkpoint
from firehose_indexer.stream.intake import Position
from firehose_indexer.stream.recording import ReplaySession
from firehose_indexer.stream.session import Session
from firehose_indexer.stream.source import Source
from firehose_indexer.stream.status import SessionStatus
from firehose_indexer.taping import dialing, recorder_into, recording, sources_of, unreachable
from firehose_indexer.version import NAME, version
from firehose_indexer.vitals import Vitals


class House(NamedTuple):
    """What a job finds standing: the database, what is known of the process, and where that is served."""

    database: Database
    vitals: Vitals
    metrics: Metrics
    port: int


async def run(
    settings: Settings,
    *,
    console: Console,
    log: Log,
    shutdown: Shutdown,
    checkpoint: Checkpoint = no_checkpoint,
) -> None:
    """The main job: follow the relay until asked to stop.

    Raises IndexerError, alone or in a group, when that cannot begin or go on.
    """
    stage = Stage(console, log, shutdown)
    sources = sources_of(settings)
    console.title(f"{NAME} {version()}")
    async with _standing(settings, stage) as house:
        indexer = Indexer(settings, house.database, house.vitals, checkpoint)
        recorder = recorder_into(settings, sources[0], house.metrics)
        session = Session(
            sources,
            dialing(settings, house.metrics),
            house.metrics,
            position=indexer.watermarks.of,
            other_position=indexer.watermarks.of_another,
            cursor_start=settings.cursor_start,  # type: ignore[arg-type]
            future_cursor=settings.future_cursor,  # type: ignore[arg-type]
            recorder=recorder,
        )
        position = await indexer.watermarks.of(sources[0])
        stage.step("relay.chosen", f"{settings.relay_url[0]}, {_begins(position, settings.cursor_start)}")
        stage.step("status.served", f"http://{settings.http_bind.host}:{house.port}/status")
        house.vitals.resumed(position)
        _watch(house, stage, sources, session.status)
        beside = {
            "console": console.follow(house.vitals.pulse, log.logger),
            "unreachable": unreachable(session.status, stage),
        }
        async with nullcontext() if recorder is None else recording(recorder):
            await indexer.follow(session, shutdown, beside)


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
    checkpoint: Checkpoint = no_checkpoint,
) -> None:
    """Index a recording; returns when its last event is committed.

    Raises ConfigError when the database follows something else, unless ``force``, and when ``identities``
    is no file of DID documents.
    """
    stage = Stage(console, log, shutdown)
    begun = time.monotonic()
    if identities is not None:
        list(read_identities(identities))  # only looked through: nothing is verified yet
    async with _standing(settings, stage) as house:
        vitals = house.vitals
        indexer = Indexer(settings, house.database, vitals, checkpoint)
        tape = ReplaySession(path, speed, position=indexer.watermarks.of, metrics=house.metrics)
        if not force and await indexer.watermarks.of_another(tape.source) is not None:
            raise ConfigError(
                "this database follows another source",
                hint="replay into an empty database, or say --force",
            )
        vitals.resumed(await indexer.watermarks.of(tape.source))
        _watch(house, stage, [tape.source], tape.status)
        await indexer.follow(tape, shutdown, {"console": console.follow(vitals.pulse, log.logger)})
    console.say(
        f"{'stopped' if shutdown.requested else 'replayed'} {path.name}:"
        f" {vitals.events_written:,} events, {vitals.rows_written:,} rows,"
        f" {vitals.pulse().dropped:,} in quarantine, watermark {vitals.snapshot().source.watermark},"
        f" {time.monotonic() - begun:.1f} s"
    )


@asynccontextmanager
async def _standing(settings: Settings, stage: Stage) -> AsyncIterator[House]:
    """The HTTP server first, so that a long start can be watched; then the database."""
    registry = Registry.discover()
    metrics = Metrics(collection.nsid for collection in registry.collections)
    vitals = Vitals(metrics, verify=settings.verify, memory_mb=settings.memory_mb)
    async with _served(settings, vitals, metrics) as (port, refused), asyncio.TaskGroup() as tasks:
        beating = tasks.create_task(vitals.heartbeat(), name="heartbeat")
        async with opened(settings, stage, registry) as database:
            if refused is not None:
                raise refused  # not before: whoever has the port mostly has the writer lock, and that says more
            handled = f"{len(registry.collections)} collections → {len(registry.tables)} tables"
            stage.step("handlers.found", handled)
            vitals.database = lambda: _database_status(database)
            yield House(database, vitals, metrics, port)
        beating.cancel()


@asynccontextmanager
async def _served(
    settings: Settings, vitals: Vitals, metrics: Metrics
) -> AsyncIterator[tuple[int, ConfigError | None]]:
    """The HTTP server's port, or why it has none."""
    ready = Ready(lag_seconds=settings.ready_lag_seconds, quarantine_bytes=settings.quarantine_max_mb << 20)
    server = HttpServer(settings.http_bind, vitals, ready, metrics)
    try:
        await server.start()
    except ConfigError as error:
        yield 0, error
        return
    try:
        yield server.port, None
    finally:
        await server.stop()


def _watch(house: House, stage: Stage, sources: Sequence[Source], status: SessionStatus) -> None:
    """Gauges asked at every scrape, and SIGUSR1."""
    vitals = house.vitals

    def lag(source: Source) -> float:
        return vitals.lag_seconds() if status.source == source else float("nan")

    for source in sources:
        house.metrics.watch_lag(source.host, partial(lag, source))
    for queue in ("stream", "lane"):
        house.metrics.watch_queue(queue, partial(vitals.queue_bytes, queue))
    told = stage.log.logger
    stage.shutdown.on(
        signal.SIGUSR1,
        lambda: dump(told, {name: queue.depth_bytes for name, queue in vitals.queues().items()}),
    )


def _database_status(database: Database) -> DatabaseStatus:
    pool = database.pool
    return DatabaseStatus(
        server=database.server.described,
        schema=database.schema,
        size=pool.get_size(),
        idle=pool.get_idle_size(),
        waiting=0,
    )


def _begins(position: Position | None, cursor_start: str) -> str:
    """Where the stream begins, in words."""
    if position is None:
        return f"from {'now' if cursor_start == 'live' else 'its oldest event'} (no cursor yet)"
    behind = "" if position.event_time is None else _behind(position.event_time)
    return f"resuming at seq {position.watermark}{behind}"


def _behind(then: datetime) -> str:
    return f", {duration(max(0.0, (datetime.now(UTC) - then).total_seconds()))} behind"
