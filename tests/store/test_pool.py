from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from types import SimpleNamespace

import asyncpg
import pytest

from firehose_indexer.errors import DatabaseError
from firehose_indexer.store import pool as pools
from firehose_indexer.store.faults import Fault, fault_of, is_transient
from firehose_indexer.store.pool import connect, connect_pool, session_name


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_sessions_carry_our_settings(database: str) -> None:
    async with await connect_pool(database, 3, statement_seconds=7) as pool:
        assert pool.get_max_size() == 3
        names = ["application_name", "jit", "synchronous_commit", "statement_timeout", "TimeZone"]
        found = [await pool.fetchval("SELECT current_setting($1)", name) for name in names]
    assert found == [session_name(), "off", "on", "7s", "UTC"]


async def test_an_unreachable_server_is_named_without_its_password() -> None:
    with pytest.raises(DatabaseError) as refusal:
        await connect(f"postgresql://indexer:secret@127.0.0.1:{free_port()}/atproto")
    assert "cannot reach PostgreSQL at postgresql://indexer:***@127.0.0.1" in str(refusal.value)
    assert "connection refused" in str(refusal.value)
    assert "secret" not in str(refusal.value)
    assert refusal.value.exit_code == 3
    assert "DATABASE_URL" in refusal.value.hint


async def test_waits_for_a_server_that_is_still_starting(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = iter([ConnectionRefusedError(), asyncpg.CannotConnectNowError("starting up")])
    real = asyncpg.connect
    heard: list[str] = []

    async def flaky(*args, **kwargs):
        for error in refusals:
            raise error
        return await real(*args, **kwargs)

    monkeypatch.setattr(asyncpg, "connect", flaky)
    connection = await connect(database, wait_seconds=30, on_wait=heard.append)
    await connection.close()
    assert heard == ["connection refused", "starting up"]


async def test_a_wrong_password_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_args, **_kwargs):
        raise asyncpg.InvalidPasswordError("password authentication failed")

    monkeypatch.setattr(asyncpg, "connect", refuse)
    with pytest.raises(DatabaseError, match="password authentication failed"):
        async with asyncio.timeout(10):
            await connect("postgresql://x@localhost/x", wait_seconds=3600)


async def test_a_malformed_dsn_is_a_database_error_and_not_a_traceback() -> None:
    with pytest.raises(DatabaseError, match="cannot reach PostgreSQL"):
        await connect("mysql://localhost/x")


async def test_an_old_server_is_refused(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        pools.asyncpg.Connection, "get_server_version", lambda _self: SimpleNamespace(major=14)
    )
    with pytest.raises(DatabaseError, match="version 14, and 15 is the oldest"):
        await connect(database)


async def fault_from(connection: asyncpg.Connection, query: str, *args: object) -> Fault:
    with pytest.raises(Exception) as raised:
        await connection.fetch(query, *args)
    return fault_of(raised.value)


async def test_faults_are_told_apart_by_what_the_server_says(database: str) -> None:
    connection = await connect(database)
    try:
        await connection.execute("CREATE TEMP TABLE t (id integer PRIMARY KEY, name text CHECK (name <> ''))")
        assert await fault_from(connection, "INSERT INTO t VALUES (1), (1)") is Fault.data
        assert await fault_from(connection, "INSERT INTO t VALUES (2, '')") is Fault.data
        assert await fault_from(connection, "SELECT $1::text", "nul \0") is Fault.data
        assert await fault_from(connection, "SELECT $1::text", "\ud800") is Fault.data
        assert await fault_from(connection, "SELECT $1::int4", 1 << 40) is Fault.data
        assert await fault_from(connection, "SELECT 1/0") is Fault.data
        assert await fault_from(connection, "SELECT nothing") is Fault.fatal
        await connection.execute("SET statement_timeout = '20ms'")
        assert await fault_from(connection, "SELECT pg_sleep(10)") is Fault.away
    finally:
        await connection.close()


async def test_a_refused_value_in_a_copy_is_data(database: str) -> None:
    connection = await connect(database)
    try:
        await connection.execute("CREATE TEMP TABLE t (id integer, name text)")
        for row in [(1, "\ud800"), (1 << 40, "x"), (1, "nul \0")]:
            with pytest.raises(Exception) as raised:
                await connection.copy_records_to_table("t", records=[row])
            assert fault_of(raised.value) is Fault.data
    finally:
        await connection.close()


async def test_a_session_ended_by_the_server_is_away_before_during_and_after(database: str) -> None:
    connection, other = await connect(database), await connect(database)
    try:
        sleeping = asyncio.create_task(connection.execute("SELECT pg_sleep(60)"))
        await asyncio.sleep(0.1)
        await other.execute("SELECT pg_terminate_backend($1)", connection.get_server_pid())
        with pytest.raises(asyncpg.PostgresError) as during:
            await sleeping
        assert fault_of(during.value) is Fault.away
        assert await fault_from(connection, "SELECT 1") is Fault.away
    finally:
        await other.close()


async def test_a_deadlock_is_retried_at_once(database: str) -> None:
    first, second = await connect(database), await connect(database)
    try:
        await first.execute(
            "CREATE TABLE ix.pair (id integer PRIMARY KEY); INSERT INTO ix.pair VALUES (1), (2)"
        )
        update = "UPDATE ix.pair SET id = id WHERE id = $1"
        await first.execute("BEGIN; SET deadlock_timeout = '10ms'")
        await second.execute("BEGIN; SET deadlock_timeout = '10ms'")
        await first.execute(update, 1)
        await second.execute(update, 2)
        crossed = asyncio.gather(first.execute(update, 2), second.execute(update, 1), return_exceptions=True)
        async with asyncio.timeout(30):
            done = asyncio.create_task(crossed_faults(crossed, first, second))
            assert Fault.retry in await done
    finally:
        await first.close()
        await second.close()


async def crossed_faults(crossed, *connections: asyncpg.Connection) -> list[Fault | None]:
    outcomes = await crossed
    for connection in connections:
        await connection.execute("ROLLBACK")
    return [fault_of(outcome) if isinstance(outcome, BaseException) else None for outcome in outcomes]


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (ConnectionRefusedError(), Fault.away),
        (TimeoutError(), Fault.away),
        (asyncpg.DiskFullError("x"), Fault.away),
        (asyncpg.TooManyConnectionsError("x"), Fault.away),
        (asyncpg.ReadOnlySQLTransactionError("x"), Fault.away),
        (asyncpg.ConnectionDoesNotExistError("x"), Fault.away),
        (asyncpg.SerializationError("x"), Fault.retry),
        (asyncpg.LockNotAvailableError("x"), Fault.retry),
        (asyncpg.InvalidCachedStatementError("x"), Fault.retry),
        (asyncpg.ProgramLimitExceededError("x"), Fault.data),
        (asyncpg.InvalidPasswordError("x"), Fault.fatal),
        (asyncpg.DataCorruptedError("x"), Fault.fatal),
        (asyncpg.InterfaceError("another operation is in progress"), Fault.fatal),
        (KeyError("x"), Fault.fatal),
    ],
)
def test_each_error_has_one_answer(error: Exception, fault: Fault) -> None:
    assert fault_of(error) is fault
    assert is_transient(error) == (fault in {Fault.away, Fault.retry})


def test_a_missing_socket_is_away(tmp_path: Path) -> None:
    with pytest.raises(OSError) as raised:
        (tmp_path / "none").read_bytes()
    assert fault_of(raised.value) is Fault.away
