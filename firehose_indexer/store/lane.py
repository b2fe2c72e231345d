"""The lane: the only writer (design §3). Takes folded batches in order and makes each one transaction.

While one batch is in Postgres the next one fills; there is never a third. A batch that fails because the
server is away is sent again for as long as it takes; one that fails for its data is split until the bad
operations are found, and those go to quarantine.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import structlog

from firehose_indexer.errors import Reason, RecordError, WriterLocked
from firehose_indexer.records.base import Table
from firehose_indexer.store.actors import Actors
from firehose_indexer.store.batch import Batch, Change, refusal_of
from firehose_indexer.store.bisect import bad_changes
from firehose_indexer.store.faults import Fault, fault_of, said
from firehose_indexer.store.lock import Fenced
from firehose_indexer.store.patience import PAUSE_LIMIT_SECONDS, PAUSE_SECONDS
from firehose_indexer.store.tables import WouldCollide
from firehose_indexer.store.writer import Writer

WATERMARK = "select watermark from ix.stream_cursors where source = $1 and endpoint = $2"
RETRIES = 20
"""Deadlocks and the like in a row before the trouble counts as our own."""


class Held(Protocol):
    """The writer lock: ``check`` runs inside the transaction and raises Fenced when the token is not ours."""

    token: Any

    async def check(self, connection: Any) -> None: ...

    async def regained(self) -> None: ...


class Watch(Protocol):
    """What the lane tells whoever measures it."""

    def batch_written(self, batch: Batch, seconds: float, rows: dict[str, int]) -> None: ...

    def batch_delayed(self, reason: str, error: BaseException) -> None: ...


class Lane:
    """``submit`` from one task, ``run`` in another. ``pool`` is an asyncpg pool for writing."""

    def __init__(
        self,
        pool: Any,
        writer: Writer,
        actors: Actors,
        held: Held,
        watch: Watch,
        *,
        checkpoint: Callable[[str], Awaitable[None]],
        ensure_database: Callable[[], Awaitable[None]],
    ) -> None:
        self._pool = pool
        self._writer = writer
        self._actors = actors
        self._held = held
        self._watch = watch
        self._checkpoint = checkpoint
        self._ensure_database = ensure_database
        self._token = held.token
        self._queue: asyncio.Queue[Batch | None] = asyncio.Queue(maxsize=1)
        self._log = structlog.get_logger()
        self.held_bytes = 0
        self.away_since: float | None = None

    async def submit(self, batch: Batch) -> None:
        """Waits while one batch is being written and another is ready."""
        await self._queue.put(batch)
        self.held_bytes += batch.bytes

    async def close(self) -> None:
        """Ends ``run`` after what was submitted is written."""
        await self._queue.put(None)

    async def run(self) -> None:
        while (batch := await self._queue.get()) is not None:
            size = batch.bytes
            await self._settle(batch)
            self.held_bytes -= size

    async def _settle(self, batch: Batch) -> None:
        """Returns when ``batch`` is committed, whatever it takes short of a fault of our own."""
        look: frozenset[Table] = frozenset()
        retries, pause, in_doubt = 0, PAUSE_SECONDS, False
        while True:
            try:
                if in_doubt and await self._landed(batch):
                    self._returned()
                    return
                await self._write(batch, look)
            except WouldCollide as collision:
                look |= {collision.table}
            except Fenced:
                await self._regain()
            except Exception as error:
                fault = fault_of(error)
                self._watch.batch_delayed(str(fault), error)
                if fault is Fault.data:
                    await self._set_aside(batch, error)
                elif fault is Fault.retry and retries < RETRIES:
                    retries += 1
                    await asyncio.sleep(random.uniform(0, 0.05) * retries)
                elif fault is Fault.away:
                    in_doubt = True
                    self.away_since = self.away_since or time.monotonic()
                    self._log.warning("database.away", error=str(error)[:200], pause=round(pause, 1))
                    await asyncio.sleep(pause * random.uniform(0.5, 1.0))
                    pause = min(PAUSE_LIMIT_SECONDS, pause * 2)
                    await self._ensure_database()
                else:
                    raise
            else:
                self._returned()
                return

    def _returned(self) -> None:
        if self.away_since is not None:
            self._log.info("database.back", after=round(time.monotonic() - self.away_since, 1))
            self.away_since = None

    async def _regain(self) -> None:
        """Waits for the lock. Another holder in between may have moved what this batch was judged by."""
        await self._held.regained()
        if self._held.token != self._token:
            raise WriterLocked(
                "another indexer wrote into this database while we were away",
                hint="run one indexer per database; this one resumes from the watermark when started again",
            )

    async def _landed(self, batch: Batch) -> bool:
        """Whether the commit whose answer was lost took place. Rows would bear a repetition, gaps would not."""
        source = batch.source
        watermark = await self._pool.fetchval(WATERMARK, source.host, source.endpoint)
        return batch.watermark is not None and watermark == batch.watermark

    async def _write(self, batch: Batch, look: frozenset[Table]) -> None:
        begun = time.perf_counter()
        async with self._pool.acquire() as connection:
            async with connection.transaction():
                await self._held.check(connection)
                terms = await self._writer.write(connection, batch, look)
                await self._checkpoint("before commit")
            await self._checkpoint("after commit")
        self._actors.remember(terms)
        self._watch.batch_written(batch, time.perf_counter() - begun, self._writer.rows_written)

    async def _set_aside(self, batch: Batch, error: BaseException) -> None:
        """Finds the changes Postgres refuses and turns each into a withdrawal and a quarantine entry."""
        await self._checkpoint("bisecting")
        found = await bad_changes(batch, self._trial)
        if not found:
            raise error
        for table, key in found:
            change = batch.changes[table][key]
            refusal = refusal_of(change.op, RecordError(Reason.db_refused, said(error)))
            batch.refused_ops[(change.op.did, change.op.path)] = refusal
            batch.changes[table][key] = Change(None, change.op, fresh=False)
            self._log.error("record.refused", path=change.op.path, did=change.op.did, error=said(error))

    async def _trial(self, batch: Batch) -> bool:
        """Whether Postgres takes ``batch``; writes nothing."""
        look: frozenset[Table] = frozenset(batch.changes)
        async with self._pool.acquire() as connection:
            attempt = connection.transaction()
            await attempt.start()
            try:
                await self._writer.write(connection, batch, look)
            except Exception as error:
                if fault_of(error) is not Fault.data:
                    raise
                return False
            finally:
                await attempt.rollback()
        return True
