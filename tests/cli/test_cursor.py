from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from firehose_indexer.cli.main import main
from firehose_indexer.ops import probe
from firehose_indexer.ops.rewind import CLOSE_ENOUGH_SECONDS, Mark
from firehose_indexer.store.lock import WriterLock

NOW = datetime.now(UTC)


@pytest.fixture
async def followed(database: str) -> str:
    connection = await asyncpg.connect(database)
    try:
        await connection.execute(
            "INSERT INTO ix.stream_cursors (source, endpoint, watermark, received, event_time) "
            "VALUES ('relay.example', 'com.atproto.sync.subscribeRepos', 100000, 100000, $1)",
            NOW,
        )
    finally:
        await connection.close()
    return database


async def run(*arguments: str) -> int:
    return await asyncio.to_thread(main, ["cursor", *arguments, "--log-level", "info"])


async def shown(dsn: str, capsys) -> list[dict]:
    capsys.readouterr()
    assert await run("show", "--json", "--database-url", dsn) == 0
    return json.loads(capsys.readouterr().out)


async def test_show_prints_what_the_database_knows(followed, capsys):
    (found,) = await shown(followed, capsys)
    assert (found["source"], found["watermark"]) == ("relay.example", 100000)
    assert datetime.fromisoformat(found["event_time"]) == NOW
    assert await run("show", "--database-url", followed) == 0
    assert "relay.example  com.atproto.sync.subscribeRepos  100000" in capsys.readouterr().out


async def test_set_moves_the_watermark_and_opens_a_gap(followed, capsys):
    assert await run("set", "150000", "--relay-url", "wss://relay.example", "--database-url", followed) == 0
    assert (await shown(followed, capsys))[0]["watermark"] == 150000
    connection = await asyncpg.connect(followed)
    try:
        gap = await connection.fetchrow("SELECT source, kind, from_seq, to_seq, state FROM ix.gaps")
    finally:
        await connection.close()
    assert tuple(gap) == ("relay.example", "operator", 100000, 150000, "open")


async def test_set_is_refused_while_an_indexer_writes(followed, capsys):
    holder = WriterLock(followed, "0/1", version="test")
    await holder.acquire()
    await holder.claim()
    try:
        assert await run("set", "5", "--relay-url", "wss://relay.example", "--database-url", followed) == 6
        assert "another indexer" in capsys.readouterr().err
    finally:
        await holder.release()
    assert (await shown(followed, capsys))[0]["watermark"] == 100000


async def test_rewind_asks_the_relay_and_opens_no_gap(followed, capsys, monkeypatch):
    async def first_event(_: object, cursor: int | None) -> Mark:
        seq = max(cursor or 0, 90_000) + 1
        return Mark(seq, NOW - timedelta(seconds=100_000 - seq))

    monkeypatch.setattr(probe, "first_event", first_event)
    begun = datetime.now(UTC)
    assert await run("rewind", "1h", "--relay-url", "wss://relay.example", "--database-url", followed) == 0
    moved = (await shown(followed, capsys))[0]
    earliest, latest = (100_000 + (at - NOW).total_seconds() - 3600 for at in (begun, datetime.now(UTC)))
    assert earliest - CLOSE_ENOUGH_SECONDS - 1 <= moved["watermark"] <= latest
    connection = await asyncpg.connect(followed)
    try:
        assert await connection.fetchval("SELECT count(*) FROM ix.gaps") == 0
    finally:
        await connection.close()


async def test_a_stream_that_was_never_followed_cannot_be_rewound(followed, capsys):
    assert await run("rewind", "1h", "--relay-url", "wss://other.example", "--database-url", followed) == 2
    assert "nothing to rewind" in capsys.readouterr().err
