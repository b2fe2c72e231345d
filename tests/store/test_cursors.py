from __future__ import annotations

from datetime import UTC, datetime

import asyncpg
import pytest

from firehose_indexer.store.cursors import Cursor, cursors, move
from firehose_indexer.store.lock import Fenced, WriterLock

AT = datetime(2026, 1, 1, tzinfo=UTC)
NEVER = Cursor("bsky.network", "com.atproto.sync.subscribeRepos", None, None, None, AT)


@pytest.fixture
async def lock(database: str):
    lock = WriterLock(database, "0/1", version="test")
    await lock.acquire()
    await lock.claim()
    yield lock
    await lock.release()


async def gaps(dsn: str) -> list[tuple]:
    connection = await asyncpg.connect(dsn)
    try:
        return [
            tuple(row) for row in await connection.fetch("SELECT kind, from_seq, to_seq, state FROM ix.gaps")
        ]
    finally:
        await connection.close()


async def test_a_database_without_schema_knows_no_stream(empty_database):
    assert await cursors(empty_database) == []


async def test_a_stream_never_followed_gets_its_line(database, lock):
    await move(database, lock, NEVER, 500, event_time=None, gap=False)
    (found,) = await cursors(database)
    assert (found.source, found.watermark, found.event_time) == ("bsky.network", 500, None)
    assert await gaps(database) == []


async def test_going_forward_leaves_the_gap_between(database, lock):
    await move(database, lock, NEVER, 500, event_time=AT, gap=False)
    (at,) = await cursors(database)
    await move(database, lock, at, 900, event_time=None, gap=True)
    assert (await cursors(database))[0].watermark == 900
    assert await gaps(database) == [("operator", 500, 900, "open")]


async def test_going_back_by_hand_leaves_a_gap_with_an_open_end(database, lock):
    await move(database, lock, NEVER, 500, event_time=AT, gap=False)
    (at,) = await cursors(database)
    await move(database, lock, at, 100, event_time=None, gap=True)
    assert await gaps(database) == [("operator", 100, None, "open")]


async def test_without_the_lock_nothing_moves(database, lock):
    stranger = WriterLock(database, "0/1", version="test")
    with pytest.raises(Fenced):
        await move(database, stranger, NEVER, 500, event_time=None, gap=True)
    assert await cursors(database) == []
    assert await gaps(database) == []
