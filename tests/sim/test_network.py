from __future__ import annotations

import asyncio
import json
from itertools import pairwise
from pathlib import Path

import aiohttp
import pytest

from firehose_indexer.errors import ConfigError
from firehose_indexer.sim import clock, wire
from firehose_indexer.sim.network import Network, parse_faults, recorded, simulate
from firehose_indexer.sim.world import World
from firehose_indexer.stream.recording import read_frames
from tests.sim.clients import DEADLINE, next_messages, subscribed

RECORDING = Path(__file__).parents[1] / "data" / "devnet" / "devnet-small.frames.zst"


async def test_a_recording_is_served_byte_for_byte_with_its_identities() -> None:
    frames = list(read_frames(RECORDING))
    network = Network.of_recording(RECORDING)
    async with network, asyncio.timeout(DEADLINE), asyncio.TaskGroup() as tasks:
        tasks.create_task(network.run())
        async with subscribed(network.relay) as client:
            assert await next_messages(client, len(frames)) == frames
        async with subscribed(network.relay, 2_000) as client:
            assert await next_messages(client, 186) == frames[2_000:]
        did = wire.decode(frames[0])[1]["did"]
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{network.directory.url}/{did}") as answer,
        ):
            assert answer.status == 200
            assert (await answer.json(content_type=None))["id"] == did


async def test_a_simulated_directory_exports_the_accounts_of_its_world() -> None:
    world = World(1, 5)
    world.take(50)
    async with (
        Network.of_world(world) as network,
        aiohttp.ClientSession() as session,
        session.get(f"{network.directory.url}/export?count=1000") as answer,
    ):
        lines = (await answer.text()).splitlines()
    assert {json.loads(line)["did"] for line in lines} == set(world.accounts)


def test_a_message_that_cannot_be_read_keeps_its_place(tmp_path: Path) -> None:
    frames = [event.frame for event in World(1, 5).take(5)]
    frames[2:2] = [b"\xff", wire.info("OutdatedCursor", "")]
    path = tmp_path / "poisoned.frames"
    path.write_bytes(b"".join(len(frame).to_bytes(4) + frame for frame in frames))
    events = list(recorded(path))
    assert [event.frame for event in events] == frames
    assert [event.seq for event in events] == [1, 2, 2, 2, 3, 4, 5]


async def test_simulate_says_where_it_listens_and_serves_a_world() -> None:
    announced: asyncio.Future[Network] = asyncio.get_running_loop().create_future()
    async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(
            simulate(port=0, accounts=5, rate=None, faults="duplicate=10", announce=announced.set_result)
        )
        network = await announced
        async with subscribed(network.relay) as client:
            messages = await next_messages(client, 300)
        kind, body = wire.decode(bytes(messages[0]))
        assert kind == "#identity"
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{network.directory.url}/{body['did']}") as answer:
                assert (await answer.json(content_type=None))["alsoKnownAs"] == [f"at://{body['handle']}"]
            async with session.get(f"{network.directory.url}/did:plc:nobody") as answer:
                assert answer.status == 404
        assert network.relay.faults.fired["duplicate"] > 0
        running.cancel()


@pytest.mark.parametrize("plan", ["drop", "drop=", "drop=0", "gremlins=5", "drop=1,=2"])
def test_a_plan_that_cannot_be_read_is_refused(plan: str) -> None:
    with pytest.raises(ConfigError):
        parse_faults(plan)


def test_clocks_never_repeat_themselves() -> None:
    for now in (clock.ticking(), clock.wall()):
        times = [now() for _ in range(1_000)]
        assert all(later - earlier >= clock.STEP for earlier, later in pairwise(times))


@pytest.mark.parametrize(
    ("microseconds", "text"),
    [(0, "1970-01-01T00:00:00.000Z"), (1_767_225_600_123_999, "2026-01-01T00:00:00.123Z")],
)
def test_times_are_written_in_milliseconds(microseconds: int, text: str) -> None:
    assert clock.text(microseconds) == text
