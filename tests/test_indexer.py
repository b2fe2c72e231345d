from __future__ import annotations

import asyncio

import pytest

from firehose_indexer.cli.complaint import complain
from firehose_indexer.errors import WriterLocked
from firehose_indexer.sim.world import World
from firehose_indexer.stream.intake import Intake
from firehose_indexer.stream.source import parse_source
from firehose_indexer.stream.status import Deliver, SessionStatus
from tests.rig import indexer


class Endless:
    """A stream that has always more, so that its deliver is soon waiting for the lane."""

    def __init__(self) -> None:
        self.source = parse_source("ws://127.0.0.1:9")
        self.status = SessionStatus(self.source)

    async def run(self, deliver: Deliver) -> None:
        intake = Intake()
        intake.connected(None)
        for event in World(1, 30):
            await deliver(self.source, intake.take([event.frame]).items)


async def test_a_lane_that_dies_ends_the_run_though_the_stream_waits_for_it(database: str, capsys):
    reached: list[str] = []

    async def checkpoint(name: str) -> None:
        reached.append(name)
        if reached.count("before commit") == 2:
            await asyncio.sleep(1)  # meanwhile the stream fills all there is room for
            raise WriterLocked("another indexer wrote meanwhile", hint="run one")

    async with indexer(database, checkpoint, batch_ops=5) as (built, shutdown):
        with pytest.raises(ExceptionGroup) as failed:
            async with asyncio.timeout(30):
                await built.follow(Endless(), shutdown)
        assert built.vitals.facts().phase == "running"
        assert not built.vitals.lane_alive()
    assert complain(failed.value, ["run"], debug=False) == 6
    assert capsys.readouterr().err == "error: another indexer wrote meanwhile\n  Try: run one\n"
