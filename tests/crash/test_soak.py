"""The simulated network with faults for as long as SOAK_MINUTES says (``make soak``): right, and of level memory."""

from __future__ import annotations

import asyncio
import os
import signal
from statistics import mean

import pytest

from firehose_indexer.config import Settings
from firehose_indexer.sim import faults
from firehose_indexer.sim.faults import Faults
from firehose_indexer.sim.relay import Relay
from firehose_indexer.sim.world import World
from tests.crash.test_postgres import resident_mb
from tests.oracle.compare import check
from tests.oracle.reading import Oracle
from tests.rig import program, reached

MINUTES = float(os.environ.get("SOAK_MINUTES", "0"))
RATE = 300
"""Events a second. Faults come minutes apart: each ends the connection, and only one that lasted a minute earns
a short wait again."""
GROWTH = 1.1
"""The last third may take this much more than the middle one: caches fill, leaks do not stop."""


@pytest.mark.skipif(MINUTES == 0, reason="make soak: needs SOAK_MINUTES")
@pytest.mark.timeout(0)
async def test_memory_stays_level_and_the_database_right(database: str) -> None:
    events = World(51, 300, odd=True).take(int(RATE * 60 * MINUTES))
    plan = Faults()
    for fault, every in ((faults.drop(), 40_000), (faults.duplicate(), 60_000), (faults.replay(50), 60_000)):
        plan.plan(100, fault)
        plan.recur(fault, every)
    resident = []
    async with Relay(window=100_000, faults=plan) as relay, program(database, relay.url) as process:
        feeding = asyncio.create_task(relay.feed(events, rate=RATE))
        while not feeding.done():
            resident.append(resident_mb(process.pid))
            await asyncio.sleep(1)
        await feeding
        await reached(database, relay.newest, process)
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    third = len(resident) // 3
    assert mean(resident[2 * third :]) < GROWTH * mean(resident[third : 2 * third])
    assert max(resident) < Settings().fixed_mb
    assert plan.pending == 0, f"planned faults did not happen; those that did: {plan.fired}"
    await check(database, Oracle().read(event.frame for event in events))
