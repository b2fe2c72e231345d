from __future__ import annotations

import asyncio
import signal

import asyncpg

from firehose_indexer.sim.network import Network
from firehose_indexer.sim.relay import Relay
from firehose_indexer.sim.world import World
from tests.acceptance.program import running


async def watermark(dsn: str) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval("select coalesce(max(watermark), 0) from ix.stream_cursors")
    finally:
        await connection.close()


async def counts(dsn: str) -> tuple[int, int]:
    """Likes that count, as the rows say and as the counters say."""
    connection = await asyncpg.connect(dsn)
    try:
        visible = await connection.fetchval("select count(*) from ix.likes where not shadow")
        counted = await connection.fetchval(
            "select (select coalesce(sum(likes), 0) from ix.post_counts)"
            " + (select coalesce(sum(likes), 0) from ix.record_counts)"
        )
        return visible, counted
    finally:
        await connection.close()


def first(events: int) -> Network:
    """A network that publishes so many events as fast as they are read."""
    world = iter(World(3, 60))
    return Network((next(world) for _ in range(events)), lambda _did: None)


async def test_a_signal_under_load_drains_and_the_next_start_goes_on_without_counting_twice(database):
    async with first(6000) as network, asyncio.TaskGroup() as tasks:
        tasks.create_task(network.run())
        given = {"RELAY_URL": network.relay.url, "DATABASE_URL": database, "CURSOR_START": "oldest"}
        async with running("run", **given) as program:
            await program.until("/status", lambda _, body: (body["watermark"] or 0) > 500)
            program.tell(signal.SIGTERM)
            assert await program.ended() == 0
        stood = await watermark(database)
        assert 500 < stood < 6000
        async with running("run", **given) as program:
            assert (await program.said(r"resuming at seq (\d+)"))[1] == str(stood)
            await program.until("/status", lambda _, body: body["watermark"] == network.relay.newest == 6000)
            program.tell(signal.SIGINT)
            assert await program.ended() == 0
    visible, counted = await counts(database)
    assert visible == counted > 0


async def test_a_second_signal_leaves_at_once_with_130(database):
    world = iter(World(3, 60))
    locker = await asyncpg.connect(database)
    async with Relay() as relay:
        given = {"RELAY_URL": relay.url, "DATABASE_URL": database, "CURSOR_START": "oldest"}
        async with running("run", **given) as program:
            await program.said("relay.connected")
            async with locker.transaction():  # so that the drain cannot end by itself
                await locker.execute("lock table ix.stream_cursors in access exclusive mode")
                relay.publish(next(world))
                await program.until("/status", lambda _, body: body["seq"] == relay.newest)
                program.tell(signal.SIGTERM)
                await program.until("/readyz", _draining)
                program.tell(signal.SIGTERM)
                assert await program.ended() == 130
    await locker.close()


async def test_usr1_tells_what_every_task_waits_for_and_how_full_the_queues_are(database):
    async with first(50) as network, asyncio.TaskGroup() as tasks:
        tasks.create_task(network.run())
        async with running("run", RELAY_URL=network.relay.url, DATABASE_URL=database) as program:
            await program.said("relay.connected")
            program.tell(signal.SIGUSR1)
            await program.said('"dump.task","reason":"lane"')
            await program.said(r'"dump.queues","stream":\d+,"lane":\d+')


def _draining(_status, body) -> bool:
    return any(reason["code"] == "draining" for reason in body["reasons"])
