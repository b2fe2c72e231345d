"""One writer per database and shard.

Two locks, because one alone is not enough. A session advisory lock keeps a second indexer from starting.
A *token* in ``ix.writer_lock`` keeps a former holder from committing: every transaction of the lane looks
for its own token under ``FOR KEY SHARE``, and a new holder writes another one under ``FOR UPDATE``, which
waits for the transactions that have already looked (spec/services (m)).

A holder that is silent for TAKEOVER_SECONDS (stopped, frozen, cut off) is taken over: its sessions are
ended first.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import socket
import time
import uuid
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from firehose_indexer.errors import DatabaseError, WriterLocked
from firehose_indexer.store.faults import Fault, fault_of
from firehose_indexer.store.pool import connect, session_name

HEARTBEAT_SECONDS = 10.0
TAKEOVER_SECONDS = 60.0
STATEMENT_SECONDS = 15.0
GRACE_SECONDS = 2.0  # a killed predecessor's session ends within this

_HOLDER = """
    SELECT host, pid, version, since, token, session,
           extract(epoch FROM clock_timestamp() - heartbeat)::float8 AS silence
    FROM ix.writer_lock WHERE shard = $1
"""
_CLAIM = """
    INSERT INTO ix.writer_lock (shard, token, host, pid, version, session, since, heartbeat)
    VALUES ($1, $2, $3, $4, $5, $6, clock_timestamp(), clock_timestamp())
    ON CONFLICT (shard) DO UPDATE SET token = excluded.token, host = excluded.host, pid = excluded.pid,
        version = excluded.version, session = excluded.session, since = excluded.since, heartbeat = excluded.heartbeat
"""
_HEARTBEAT = "UPDATE ix.writer_lock SET heartbeat = clock_timestamp() WHERE shard = $1 AND token = $2"
_CHECK = "SELECT token FROM ix.writer_lock WHERE shard = $1 FOR KEY SHARE"
_END_SESSIONS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = $1 AND pid <> pg_backend_pid()
"""
_END_HOLDER = """
    SELECT pg_terminate_backend(pid) FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND pid <> pg_backend_pid()
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND classid = (($1::int8 >> 32) & 4294967295)::oid AND objid = ($1::int8 & 4294967295)::oid
"""


class Fenced(Exception):
    """This process may not write now: its lock is lost or another holds it. Wait for ``regained``."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds the lock of a shard, and for how many seconds nothing was heard of it."""

    host: str
    pid: int
    version: str
    since: datetime
    token: uuid.UUID
    session: str
    silence: float


class WriterLock:
    """The lock of one shard. In this order: ``acquire``, migrate, ``claim``, then ``keep`` as a task."""

    def __init__(self, dsn: str, shard: str, *, version: str) -> None:
        self._dsn = dsn
        self._shard = shard
        self._version = version
        self._key = advisory_key(shard)
        self._connection: asyncpg.Connection | None = None
        self._held = asyncio.Event()
        self.token = uuid.uuid4()
        self.epoch = 0
        """How often the lock was claimed; when it grew, re-read watermark and repo states."""
        self.written: float | None = None
        """When, on the monotonic clock, the database last took a write of ours: a claim or a heartbeat."""

    @property
    def held(self) -> bool:
        return self._held.is_set()

    async def acquire(self, *, wait_seconds: float = 0) -> None:
        """Take the advisory lock on a connection of its own; needs no table.

        Raises WriterLocked naming the holder, DatabaseError when the database cannot be reached.
        """
        connection = await connect(self._dsn, wait_seconds=wait_seconds)
        try:
            await self._take(connection)
        except BaseException:
            connection.terminate()
            raise
        self._connection = connection
        connection.add_termination_listener(self._lost)

    async def claim(self) -> None:
        """Write our token; from here on nobody else's transactions commit. Needs the schema.

        Waits for the transactions of a former holder that have begun.
        """
        connection = self._connection
        if connection is None or connection.is_closed():
            raise Fenced
        async with connection.transaction():
            await connection.execute(f"SET LOCAL lock_timeout = '{int(STATEMENT_SECONDS * 1000)}ms'")
            found = await connection.fetchval(
                "SELECT token FROM ix.writer_lock WHERE shard = $1 FOR UPDATE",
                self._shard,
                timeout=2 * STATEMENT_SECONDS,
            )
            if found != self.token:
                self.token = uuid.uuid4()
            await connection.execute(
                _CLAIM,
                self._shard,
                self.token,
                socket.gethostname(),
                os.getpid(),
                self._version,
                session_name(),
                timeout=STATEMENT_SECONDS,
            )
        self.epoch += 1
        self.written = time.monotonic()
        self._held.set()

    async def check(self, connection: asyncpg.Connection) -> None:
        """Inside a transaction: hold the token until it ends. Raises Fenced when it is not ours."""
        if not self.held or await connection.fetchval(_CHECK, self._shard) != self.token:
            raise Fenced

    async def regained(self) -> None:
        """Wait until the lock is held."""
        await self._held.wait()

    async def keep(self) -> None:
        """Send the heartbeat, and take the lock again when its connection breaks; runs until cancelled.

        Raises WriterLocked when another indexer took over.
        """
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            connection = self._connection
            try:
                if connection is None or connection.is_closed():
                    await self._regain()
                elif not self.held:
                    await self.claim()
                else:
                    done = await connection.execute(
                        _HEARTBEAT, self._shard, self.token, timeout=STATEMENT_SECONDS
                    )
                    if done != "UPDATE 1":
                        await self._give_up(connection)
                    self.written = time.monotonic()
            except Fenced:
                continue  # the new connection broke before the claim; take the lock again
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                if fault_of(error) is Fault.fatal:
                    raise
                if fault_of(error) is Fault.away and connection is not None:
                    connection.terminate()

    async def release(self) -> None:
        """Give the lock back. Safe to call twice, and when it was never taken."""
        self._held.clear()
        connection, self._connection = self._connection, None
        if connection is not None and not connection.is_closed():
            connection.remove_termination_listener(self._lost)
            await connection.close(timeout=STATEMENT_SECONDS)

    def _lost(self, _connection: object) -> None:
        self._held.clear()

    async def _regain(self) -> None:
        self._held.clear()
        try:
            await self.acquire()
        except WriterLocked:
            raise
        except DatabaseError:
            await asyncio.sleep(random.uniform(0, HEARTBEAT_SECONDS / 2))
            return
        await self.claim()

    async def _give_up(self, connection: asyncpg.Connection) -> None:
        """The lock's row is another's although our session lives: somebody took over by force."""
        self._held.clear()
        raise WriterLocked(_named(self._shard, await self._holder(connection)))

    async def _take(self, connection: asyncpg.Connection) -> None:
        if await self._try(connection, GRACE_SECONDS):
            return
        holder = await self._holder(connection)
        if holder is None or (holder.silence < TAKEOVER_SECONDS and holder.token != self.token):
            raise WriterLocked(
                _named(self._shard, holder),
                hint="stop it, or give this one another database: DATABASE_URL, or DATA_DIR for an embedded one",
            )
        # Either the holder is silent, or it is our own lost connection, which the server has not missed yet.
        if holder.token != self.token:
            await connection.execute(_END_SESSIONS, holder.session, timeout=STATEMENT_SECONDS)
        await connection.execute(_END_HOLDER, self._key, timeout=STATEMENT_SECONDS)
        if not await self._try(connection, STATEMENT_SECONDS):
            raise WriterLocked(_named(self._shard, await self._holder(connection)))

    async def _try(self, connection: asyncpg.Connection, seconds: float) -> bool:
        tries = max(1, round(seconds / 0.1))
        for attempt in range(tries):
            if attempt:
                await asyncio.sleep(0.1)
            if await connection.fetchval(
                "SELECT pg_try_advisory_lock($1)", self._key, timeout=STATEMENT_SECONDS
            ):
                return True
        return False

    async def _holder(self, connection: asyncpg.Connection) -> Holder | None:
        """What the table says; nothing before the first migration."""
        if not await connection.fetchval("SELECT to_regclass('ix.writer_lock') IS NOT NULL"):
            return None
        row = await connection.fetchrow(_HOLDER, self._shard, timeout=STATEMENT_SECONDS)
        return None if row is None else Holder(**dict(row))


def advisory_key(shard: str) -> int:
    """The lock's number; advisory locks belong to a database, so its name need not be in it."""
    digest = hashlib.sha256(f"firehose-indexer\0{shard}".encode()).digest()
    return int.from_bytes(digest[:8], signed=True)


def _named(shard: str, holder: Holder | None) -> str:
    if holder is None:
        return f"another indexer is starting on this database (shard {shard})"
    return (
        f"another indexer writes into this database (shard {shard}): pid {holder.pid} on {holder.host},"
        f" version {holder.version}, since {holder.since:%Y-%m-%d %H:%M:%S} UTC,"
        f" last heard of {holder.silence:.0f} s ago"
    )
