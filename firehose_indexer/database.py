"""The database of a run: started if it is ours, locked, migrated, pooled (spec/services (m))."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from firehose_indexer.config import Settings
from firehose_indexer.errors import SchemaError
from firehose_indexer.ops.stage import Stage
from firehose_indexer.records.registry import Registry
from firehose_indexer.store import migrations
from firehose_indexer.store.embedded import EmbeddedPostgres
from firehose_indexer.store.lock import WriterLock
from firehose_indexer.store.notices import notifications_view
from firehose_indexer.store.pool import connect_pool
from firehose_indexer.version import version

SHARD = "0/1"
LOOK_SECONDS = 2.0


class Server(NamedTuple):
    """A Postgres that answers. ``ensure`` starts it again if it is ours and died."""

    dsn: str
    ensure: Callable[[], Awaitable[None]]
    described: str


@dataclass(frozen=True, slots=True)
class Database:
    """A migrated database whose writer lock is ours. ``schema`` is the number of its last migration."""

    server: Server
    pool: Any
    lock: WriterLock
    registry: Registry
    schema: int

    async def keep(self) -> None:
        """Looks after an embedded server, also while nothing is being written. Runs until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.server.ensure()


def generated_views(registry: Registry) -> list[str]:
    """The part of schema ``appview`` that follows from the declarations: ``after`` of every migration."""
    return [notifications_view(registry.collections)]


@asynccontextmanager
async def opened(settings: Settings, stage: Stage, registry: Registry) -> AsyncIterator[Database]:
    """The database of ``settings``. Raises DatabaseError, SchemaError, WriterLocked."""
    async with _serving(settings, stage) as server:
        lock = WriterLock(server.dsn, SHARD, version=version())
        await lock.acquire(wait_seconds=settings.db_wait_seconds)
        try:
            schema = await _migrated(settings, server.dsn, registry, stage)
            await lock.claim()
            pool = await connect_pool(
                server.dsn,
                settings.db_pool_size,
                statement_seconds=settings.db_statement_seconds,
                wait_seconds=settings.db_wait_seconds,
            )
            try:
                yield Database(server, pool, lock, registry, schema)
            finally:
                await _close(pool)
        finally:
            await lock.release()


@asynccontextmanager
async def _serving(settings: Settings, stage: Stage) -> AsyncIterator[Server]:
    if settings.database_url is not None:
        yield Server(settings.database_url, _given, "from DATABASE_URL")
        return
    begun = time.monotonic()
    embedded = EmbeddedPostgres(settings.data_dir, progress=stage.console.say)
    await embedded.start()
    described = f"embedded PostgreSQL {embedded.version}"
    stage.step("database.started", f"{described} in {embedded.home}", time.monotonic() - begun)
    try:
        yield Server(embedded.url, _reviving(embedded, stage), described)
    finally:
        await embedded.stop()


async def _given() -> None:
    """A server that somebody else runs is only waited for."""


def _reviving(embedded: EmbeddedPostgres, stage: Stage) -> Callable[[], Awaitable[None]]:
    turn = asyncio.Lock()

    async def ensure() -> None:
        async with turn:
            if await embedded.ensure_running():
                stage.log.logger.warning("database.restarted")

    return ensure


async def _migrated(settings: Settings, dsn: str, registry: Registry, stage: Stage) -> int:
    """Brings the schema up to date, or refuses to; returns its number."""
    begun = time.monotonic()
    generated = generated_views(registry)
    if settings.migrate:
        done = len((await migrations.migrate(dsn, after=generated)).applied)
        text = f"{done} migrations applied" if done else "current"
        stage.step("schema.migrated", text, time.monotonic() - begun)
    elif not (await migrations.status(dsn, after=generated)).current:
        raise SchemaError(
            "the database's schema is not this version's, and MIGRATE is 0",
            hint="firehose-indexer migrate, or run with MIGRATE=1",
        )
    return migrations.newest()


async def _close(pool: Any) -> None:
    """A connection that hangs must not hold up the exit: everything worth keeping is committed."""
    try:
        async with asyncio.timeout(5):
            await pool.close()
    except TimeoutError:
        pool.terminate()
