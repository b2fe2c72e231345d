from __future__ import annotations

import asyncio

import asyncpg

from firehose_indexer.sim.network import Network
from firehose_indexer.sim.relay import Relay
from tests.acceptance.program import Program, running

NOWHERE = "ws://127.0.0.1:9"


async def told(program: Program, code: int) -> str:
    """What a program that must end with ``code`` said last."""
    assert await program.ended() == code
    await program.said("^error: ")
    talk = "\n".join(program.log)
    assert "Traceback" not in talk
    return talk


async def test_an_unusable_setting_exits_2(database):
    async with running("run", RELAY_URL="ftp://x", DATABASE_URL=database) as program:
        assert "RELAY_URL" in await told(program, 2)


async def test_a_taken_port_exits_2(database):
    async with Relay() as taken:
        bind = f"127.0.0.1:{taken.port}"
        async with running("run", RELAY_URL=NOWHERE, DATABASE_URL=database, HTTP_BIND=bind) as program:
            assert f"cannot listen on {bind}" in await told(program, 2)


async def test_when_another_indexer_has_both_port_and_lock_the_lock_is_told(database):
    async with running("run", RELAY_URL=NOWHERE, DATABASE_URL=database) as first:
        bind = (await first.address()).removeprefix("http://")
        async with running("run", RELAY_URL=NOWHERE, DATABASE_URL=database, HTTP_BIND=bind) as other:
            assert f"pid {first.process.pid}" in await told(other, 6)


async def test_an_unreachable_database_exits_3():
    given = {"DATABASE_URL": "postgresql://u:sesame@127.0.0.1:9/x", "DB_WAIT_SECONDS": "0"}
    async with running("run", RELAY_URL=NOWHERE, **given) as program:
        talk = await told(program, 3)
    assert "u:***@127.0.0.1:9/x" in talk


async def test_a_schema_from_the_future_exits_4(database):
    connection = await asyncpg.connect(database)
    await connection.execute("insert into ix.schema_migrations values (9999, 'later', '', now())")
    await connection.close()
    async with running("run", RELAY_URL=NOWHERE, DATABASE_URL=database) as program:
        assert "schema 9999" in await told(program, 4)


async def test_a_schema_that_may_not_be_migrated_exits_4(empty_database):
    async with running("run", RELAY_URL=NOWHERE, DATABASE_URL=empty_database, MIGRATE="0") as program:
        assert "MIGRATE" in await told(program, 4)


async def test_a_cursor_in_the_future_exits_5_and_names_commands_that_exist(database):
    async with Network([], lambda _did: None) as network:
        connection = await asyncpg.connect(database)
        await connection.execute(
            "insert into ix.stream_cursors (source, endpoint, watermark, received)"
            " values ($1, 'com.atproto.sync.subscribeRepos', 99, 99)",
            f"127.0.0.1:{network.relay.port}",
        )
        await connection.close()
        given = {"RELAY_URL": network.relay.url, "DATABASE_URL": database}
        async with running("run", **given) as program:
            talk = await told(program, 5)
        assert "firehose-indexer run --future-cursor live" in talk
        async with running("cursor", "show", DATABASE_URL=database) as program:
            assert await program.ended() == 0
        async with running("run", "--future-cursor", "live", **given) as program:
            await program.until("/status", lambda _, body: body["source"]["state"] in {"live", "quiet"})
            assert sum("relay.connected" in line for line in program.log) == 2  # refused once, then from now


async def test_of_two_starts_at_once_one_runs_and_one_exits_6(database):
    given = {"RELAY_URL": NOWHERE, "DATABASE_URL": database}
    async with running("run", **given) as one, running("run", **given) as other:
        ended = [asyncio.ensure_future(program.process.wait()) for program in (one, other)]
        async with asyncio.timeout(30):
            (done,), (still,) = await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED)
        assert done.result() == 6
        loser, winner = (one, other) if ended[0] is done else (other, one)
        assert "another indexer" in await told(loser, 6)
        await winner.until("/healthz", lambda status, _: status == 200)
        still.cancel()
