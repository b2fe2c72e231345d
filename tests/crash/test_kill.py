"""kill -9 at every named point and at any moment: started again, the database is what the oracle reads."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from firehose_indexer.sim.relay import Relay
from firehose_indexer.sim.wire import Emitted
from firehose_indexer.sim.world import World
from tests.oracle.compare import check, contents
from tests.oracle.reading import Oracle
from tests.rig import UNTIL_SECONDS, execute, program, reached, watermark

BATCH = {"BATCH_OPS": "40", "BATCH_MILLISECONDS": "50"}
KILLS = (
    ("after rows", 1),
    ("before commit", 3),
    ("after commit", 1),
    ("after rows", 7),
    ("after commit", 4),
    ("before commit", 1),
)


@asynccontextmanager
async def serving(events: list[Emitted]) -> AsyncIterator[Relay]:
    """A relay whose window holds every event from the start."""
    async with Relay(window=100_000) as relay:
        for event in events:
            relay.publish(event)
        yield relay


async def killed(dsn: str, relay: Relay, point: str, hit: int) -> None:
    """Run until the indexer kills itself at the point."""
    async with program(dsn, relay.url, "-m", "tests.crash.driver", point, str(hit), **BATCH) as process:
        async with asyncio.timeout(UNTIL_SECONDS):
            await process.wait()
        assert process.returncode == -signal.SIGKILL, f"{point} {hit} was never reached"


async def finished(dsn: str, relay: Relay) -> None:
    """Run without faults to the end of the stream, then drain."""
    async with program(dsn, relay.url, **BATCH) as process:
        await reached(dsn, relay.newest, process)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(UNTIL_SECONDS):
            assert await process.wait() == 0


async def test_killed_at_every_named_point_it_ends_as_the_oracle_reads(database: str) -> None:
    events = World(21, 25, odd=True).take(1_500)
    async with serving(events) as relay:
        for point, hit in KILLS:
            await killed(database, relay, point, hit)
            assert await watermark(database) < relay.newest
        await finished(database, relay)
    await check(database, Oracle().read(event.frame for event in events))


async def test_killed_while_looking_at_rows_that_exist(database: str) -> None:
    events = World(22, 25, odd=True).take(900)
    async with serving(events) as relay:
        await finished(database, relay)
        await execute(database, "delete from ix.repos; update ix.stream_cursors set watermark = null")
        for hit in (1, 6):
            await killed(database, relay, "looking", hit)
        await finished(database, relay)
    await check(database, Oracle().read(event.frame for event in events))


async def test_killed_while_it_searches_for_what_postgres_refuses(database: str) -> None:
    events = World(23, 25).take(700)
    marked = Oracle().read(event.frame for event in events)
    refused = min(rkey for _, collection, rkey in marked.records if collection == "app.bsky.feed.like")
    await execute(database, f"alter table ix.likes add constraint marker check (rkey <> '{refused}')")
    async with serving(events) as relay:
        await killed(database, relay, "bisecting", 1)
        await finished(database, relay)
    found = await contents(database)
    assert [(r["reason"], r["path"].split("/")[1]) for r in found["ix.quarantine"]] == [
        ("db_refused", refused)
    ]
    likes = {rkey for _, collection, rkey in marked.records if collection == "app.bsky.feed.like"}
    assert {row["rkey"] for row in found["ix.likes"]} == likes - {refused}


@pytest.mark.timeout(600)
async def test_killed_at_any_moment_it_ends_as_the_oracle_reads(database: str, long: bool) -> None:
    rounds, rng = (50, random.Random()) if long else (6, random.Random())
    events = World(24, 40, odd=True).take(300 * rounds)
    busy = 0
    async with Relay(window=100_000) as relay:
        feeding = asyncio.create_task(relay.feed(events, rate=200))
        for _ in range(rounds):
            async with program(database, relay.url, **BATCH) as process:
                before = await watermark(database)
                await reached(database, before + 1, process)
                await asyncio.sleep(rng.uniform(0, 0.5))
                process.kill()
                assert await process.wait() == -signal.SIGKILL
            busy += await watermark(database) < events[-1].seq
        assert busy == rounds, "the stream ended before the last kill"
        feeding.cancel()
        await asyncio.wait((feeding,))
        for event in events:
            if event.seq > relay.newest:
                relay.publish(event)
        await finished(database, relay)
    await check(database, Oracle().read(event.frame for event in events))
