from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import asyncpg
import pytest

from firehose_indexer.errors import WriterLocked
from firehose_indexer.store import lock as locks
from firehose_indexer.store.faults import Fault, fault_of
from firehose_indexer.store.lock import Fenced, WriterLock, advisory_key
from firehose_indexer.store.pool import connect

MakeLock = Callable[..., WriterLock]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "GRACE_SECONDS", 0.2)
    monkeypatch.setattr(locks, "HEARTBEAT_SECONDS", 0.05)


@pytest.fixture
async def lock(database: str, quick: None) -> AsyncIterator[MakeLock]:
    async with AsyncExitStack() as stack:

        def make(shard: str = "0/1") -> WriterLock:
            made = WriterLock(database, shard, version="1.2.3")
            stack.push_async_callback(made.release)
            return made

        yield make


@pytest.fixture
async def connection(database: str) -> AsyncIterator[asyncpg.Connection]:
    opened = await connect(database)
    yield opened
    await opened.close()


async def end_session_of(lock: WriterLock, connection: asyncpg.Connection) -> None:
    assert lock._connection is not None
    pid = lock._connection.get_server_pid()
    await connection.execute("SELECT pg_terminate_backend($1, 10000)", pid)
    while lock.held:
        await asyncio.sleep(0.01)


async def silence(connection: asyncpg.Connection, shard: str = "0/1") -> None:
    """As if the holder had been stopped for two minutes. Its sessions get a name of their own to be ended by."""
    await connection.execute(
        "UPDATE ix.writer_lock SET session = 'the former holder', heartbeat = heartbeat - interval '2 minutes'"
        " WHERE shard = $1",
        shard,
    )


async def taken(lock: WriterLock) -> WriterLock:
    await lock.acquire()
    await lock.claim()
    return lock


async def test_the_second_writer_is_refused_and_told_who_holds_the_lock(lock: MakeLock) -> None:
    await taken(lock())
    with pytest.raises(
        WriterLocked, match=r"shard 0/1\): pid \d+ on .*, version 1\.2\.3, since \d{4}-"
    ) as refusal:
        await lock().acquire()
    assert refusal.value.exit_code == 6
    assert "DATABASE_URL" in refusal.value.hint


async def test_a_writer_that_is_still_migrating_is_a_writer(database: str, lock: MakeLock) -> None:
    await lock().acquire()
    with pytest.raises(WriterLocked, match="another indexer is starting"):
        await lock().acquire()


async def test_two_starts_at_once_give_one_writer(lock: MakeLock) -> None:
    outcomes = await asyncio.gather(*(taken(lock()) for _ in range(4)), return_exceptions=True)
    assert sum(isinstance(outcome, WriterLock) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, WriterLocked) for outcome in outcomes) == 3


async def test_shards_do_not_lock_each_other(lock: MakeLock) -> None:
    first, second = await taken(lock("0/2")), await taken(lock("1/2"))
    assert first.held
    assert second.held
    assert advisory_key("0/2") != advisory_key("1/2")


async def test_released_means_free(lock: MakeLock) -> None:
    first = await taken(lock())
    await first.release()
    await first.release()
    assert not first.held
    assert (await taken(lock())).held


async def test_the_holder_passes_the_check_and_nobody_else_does(
    lock: MakeLock, connection: asyncpg.Connection
) -> None:
    holder = await taken(lock())
    async with connection.transaction():
        await holder.check(connection)
    with pytest.raises(Fenced):
        await lock().check(connection)


async def test_a_lost_connection_stops_the_lane_at_once(
    lock: MakeLock, connection: asyncpg.Connection
) -> None:
    holder = await taken(lock())
    await end_session_of(holder, connection)
    with pytest.raises(Fenced):
        await holder.check(connection)


async def test_a_lost_lock_is_taken_again_with_the_same_token(
    lock: MakeLock, connection: asyncpg.Connection
) -> None:
    holder = await taken(lock())
    token, epoch = holder.token, holder.epoch
    async with asyncio.TaskGroup() as tasks:
        await end_session_of(holder, connection)
        keeping = tasks.create_task(holder.keep())
        async with asyncio.timeout(30):
            await holder.regained()
        keeping.cancel()
    assert holder.token == token
    assert holder.epoch == epoch + 1
    await holder.check(connection)


async def test_a_lost_lock_that_another_took_ends_the_former_holder(
    lock: MakeLock, connection: asyncpg.Connection
) -> None:
    former = await taken(lock())
    await end_session_of(former, connection)
    successor = await taken(lock())
    async with asyncio.timeout(30):
        with pytest.raises(WriterLocked):
            await former.keep()
    await successor.check(connection)


async def test_the_heartbeat_is_heard_while_a_transaction_holds_the_token(
    lock: MakeLock, connection: asyncpg.Connection, database: str
) -> None:
    holder = await taken(lock())
    watcher = await connect(database)
    try:
        heartbeat = "SELECT heartbeat FROM ix.writer_lock"
        before = await watcher.fetchval(heartbeat)
        async with asyncio.TaskGroup() as tasks, connection.transaction():
            await holder.check(connection)
            keeping = tasks.create_task(holder.keep())
            async with asyncio.timeout(30):
                while await watcher.fetchval(heartbeat) == before:
                    await asyncio.sleep(0.02)
            keeping.cancel()
    finally:
        await watcher.close()


async def test_a_silent_holder_is_taken_over_and_can_no_longer_write(
    lock: MakeLock, connection: asyncpg.Connection
) -> None:
    former = await taken(lock())
    await silence(connection)
    successor = await taken(lock())
    assert successor.token != former.token
    former._held.set()  # a process that wakes up has not yet heard that its connection is gone
    with pytest.raises(Fenced):
        await former.check(connection)
    await successor.check(connection)


async def test_takeover_ends_the_transactions_of_the_former_holder(
    lock: MakeLock, connection: asyncpg.Connection, database: str
) -> None:
    former = await taken(lock())
    await silence(connection)
    lane = await connect(database, settings={"application_name": "the former holder"})
    transaction = lane.transaction()
    await transaction.start()
    await former.check(lane)
    await lane.execute("CREATE TABLE ix.written_by_the_former (id integer)")
    async with asyncio.timeout(30):
        await taken(lock())
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)) as ended:
        await transaction.commit()
    assert fault_of(ended.value) is Fault.away
    assert await connection.fetchval("SELECT to_regclass('ix.written_by_the_former')") is None


async def test_a_claim_waits_for_transactions_that_have_looked(
    lock: MakeLock, connection: asyncpg.Connection, database: str
) -> None:
    former = await taken(lock())
    successor = lock()
    transaction = connection.transaction()
    await transaction.start()
    await former.check(connection)
    watcher = await connect(database)
    try:
        await end_session_of(former, watcher)
        await successor.acquire()
        claiming = asyncio.create_task(successor.claim())
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        async with asyncio.timeout(30):
            while not await watcher.fetchval(waiting):
                await asyncio.sleep(0.01)
        assert not successor.held
        await transaction.commit()
        await claiming
    finally:
        await watcher.close()
    assert successor.held


async def test_our_own_ghost_session_does_not_lock_us_out(lock: MakeLock) -> None:
    holder = await taken(lock())
    ghost = holder._connection
    assert ghost is not None
    ghost.remove_termination_listener(holder._lost)
    holder._connection = None  # the network broke, and the server has not noticed
    await taken(holder)
    assert holder.held
    ghost.terminate()


async def test_a_claim_that_had_to_wait_too_long_is_made_again(
    lock: MakeLock, connection: asyncpg.Connection, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = await taken(lock())
    monkeypatch.setattr(locks, "STATEMENT_SECONDS", 0.3)
    transaction = connection.transaction()
    await transaction.start()
    await holder.check(connection)
    watcher = await connect(database)
    try:
        await end_session_of(holder, watcher)
        async with asyncio.TaskGroup() as tasks:
            keeping = tasks.create_task(holder.keep())
            async with asyncio.timeout(30):
                while holder._connection is None or holder._connection.is_closed():
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0.5)  # longer than a claim waits
                assert not holder.held
                await transaction.commit()
                await holder.regained()
            keeping.cancel()
    finally:
        await watcher.close()
    await holder.check(connection)
