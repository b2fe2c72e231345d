"""Connections to Postgres: who we say we are, what a session is set to, how long we wait for one."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import time
from collections.abc import Callable

import asyncpg

from firehose_indexer.errors import DatabaseError
from firehose_indexer.masking import mask
from firehose_indexer.store.binaries import OLDEST_MAJOR
from firehose_indexer.store.faults import Fault, fault_of

CONNECT_SECONDS = 10.0
IDLE_IN_TRANSACTION_SECONDS = 60
_HINT = "unset DATABASE_URL to use the embedded server, or: firehose-indexer doctor"


def session_name() -> str:
    """``application_name`` of every session of this process: by it a successor ends them all."""
    return f"firehose-indexer {socket.gethostname()[:32]}:{os.getpid()}"


async def connect(
    dsn: str,
    *,
    wait_seconds: float = 0,
    settings: dict[str, str] | None = None,
    on_wait: Callable[[str], None] = lambda _reason: None,
) -> asyncpg.Connection:
    """One connection, to a server of a version we know.

    While the server is away, tries again with backoff and jitter for ``wait_seconds``; ``on_wait`` hears
    why. Raises DatabaseError: unreachable, refused, or older than PostgreSQL 15.
    """
    deadline = time.monotonic() + wait_seconds
    attempt = 0
    while True:
        try:
            connection = await asyncpg.connect(
                dsn,
                timeout=CONNECT_SECONDS,
                server_settings={"application_name": session_name(), "timezone": "UTC", **(settings or {})},
            )
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
            pause = random.uniform(0.5, 1) * min(5.0, 0.1 * 2**attempt)
            if fault_of(error) is not Fault.away or time.monotonic() + pause > deadline:
                raise _unreachable(dsn, error) from error
            on_wait(_reason(error))
            attempt += 1
            await asyncio.sleep(pause)
        else:
            await _refuse_old(connection, dsn)
            return connection


async def connect_pool(
    dsn: str,
    size: int,
    *,
    statement_seconds: float = 60,
    wait_seconds: float = 60,
    on_wait: Callable[[str], None] = lambda _reason: None,
) -> asyncpg.Pool:
    """At most ``size`` connections for statements of at most ``statement_seconds``.

    Commits are flushed: the chains and ids in our memory run on from what the server acknowledged, and a
    server that restarts without us must not have forgotten any of it.
    Raises DatabaseError as ``connect``.
    """
    first = await connect(dsn, wait_seconds=wait_seconds, on_wait=on_wait)
    await first.close(timeout=CONNECT_SECONDS)
    return await asyncpg.create_pool(
        dsn,
        min_size=1,
        max_size=size,
        timeout=CONNECT_SECONDS,
        # The server's own limit fires first; this one is for a server that no longer answers at all.
        command_timeout=statement_seconds + CONNECT_SECONDS,
        server_settings={
            "application_name": session_name(),
            "timezone": "UTC",
            "jit": "off",
            "synchronous_commit": "on",
            "statement_timeout": str(int(statement_seconds * 1000)),
            "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_SECONDS * 1000),
        },
    )


async def _refuse_old(connection: asyncpg.Connection, dsn: str) -> None:
    version = connection.get_server_version()
    if version.major < OLDEST_MAJOR:
        await connection.close(timeout=CONNECT_SECONDS)
        raise DatabaseError(
            f"PostgreSQL at {mask(dsn)} is version {version.major}, and {OLDEST_MAJOR} is the oldest supported",
            hint="upgrade the server, or unset DATABASE_URL to use the embedded one",
        )


def _unreachable(dsn: str, error: BaseException) -> DatabaseError:
    return DatabaseError(f"cannot reach PostgreSQL at {mask(dsn)}\n  {mask(_reason(error))}", hint=_HINT)


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {CONNECT_SECONDS:.0f} s"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    return str(error) or type(error).__name__
