from __future__ import annotations

import asyncio

import libipld
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from firehose_indexer.sim import wire
from firehose_indexer.sim.relay import Relay
from firehose_indexer.sim.world import World
from tests.sim.clients import DEADLINE, events, next_messages, seqs, subscribed, until_closed


async def test_without_a_cursor_a_client_gets_what_comes() -> None:
    async with Relay() as relay:
        for event in events(1, 5):
            relay.publish(event)
        async with subscribed(relay) as client:
            for event in events(6, 8):
                relay.publish(event)
            assert await seqs(client, 3) == [6, 7, 8]


@pytest.mark.parametrize(("inclusive", "first"), [(False, 4), (True, 3)])
async def test_a_cursor_in_the_window_replays_and_goes_on_live(inclusive: bool, first: int) -> None:
    async with Relay(inclusive=inclusive) as relay:
        for event in events(1, 5):
            relay.publish(event)
        async with subscribed(relay, 3) as client:
            assert await seqs(client, 6 - first) == list(range(first, 6))
            relay.publish(events(6, 6)[0])
            assert await seqs(client, 1) == [6]


async def test_cursor_zero_is_the_oldest_without_a_complaint() -> None:
    async with Relay(window=4) as relay:
        for event in events(1, 10):
            relay.publish(event)
        async with subscribed(relay, 0) as client:
            got = await seqs(client, 4)
            assert got[-1] <= 10
            assert got[0] > 1


async def test_a_cursor_before_the_window_is_told_so_and_gets_the_oldest() -> None:
    async with Relay(window=4) as relay:
        for event in events(1, 10):
            relay.publish(event)
        async with subscribed(relay, 1) as client:
            info, first, *_ = await next_messages(client, 3)
            assert isinstance(info, bytes)
            assert isinstance(first, bytes)
            kind, body = wire.decode(info)
            assert (kind, body["name"]) == ("#info", "OutdatedCursor")
            assert wire.decode(first)[1]["seq"] > 2


async def test_the_cursor_just_before_the_window_has_missed_nothing() -> None:
    async with Relay(window=4) as relay:
        for event in events(11, 14):
            relay.publish(event)
        async with subscribed(relay, 10) as client:
            assert await seqs(client, 1) == [11]


async def test_a_cursor_in_the_future_is_refused_and_closed() -> None:
    async with Relay() as relay:
        relay.publish(events(1, 1)[0])
        async with subscribed(relay, 2) as client:
            received, _ = await until_closed(client)
    (message,) = received
    assert isinstance(message, bytes)
    header, body = libipld.decode_dag_cbor_multi(message)
    assert header == {"op": -1}
    assert body["error"] == "FutureCursor"


@pytest.mark.parametrize(("path", "status"), [("/", 404), (f"{wire.ENDPOINT}?cursor=abc", 400)])
async def test_other_requests_are_refused_over_http(path: str, status: int) -> None:
    async with Relay() as relay:
        with pytest.raises(InvalidStatus) as refused:
            async with connect(relay.url + path):
                pass
    assert refused.value.response.status_code == status


async def test_clients_do_not_disturb_each_other() -> None:
    async with Relay() as relay:
        for event in events(1, 50):
            relay.publish(event)
        async with subscribed(relay, 0) as one, subscribed(relay, 40) as other:
            assert await seqs(other, 10) == list(range(41, 51))
            assert await seqs(one, 50) == list(range(1, 51))
        assert relay.connections == 2


async def test_who_falls_out_of_the_window_is_too_slow() -> None:
    async with Relay(window=20) as relay, subscribed(relay) as client:
        # Far more bytes than sockets buffer, so that the relay is stuck in the middle of sending.
        for event in events(1, 200, size=500_000):
            relay.publish(event)
            await asyncio.sleep(0)
        received, code = await until_closed(client)
        assert relay.slow == 1
    last = received[-1]
    assert isinstance(last, bytes)
    assert libipld.decode_dag_cbor_multi(last)[1]["error"] == "ConsumerTooSlow"
    assert code == 1008


async def test_publishing_backwards_is_a_mistake() -> None:
    async with Relay() as relay:
        relay.publish(events(5, 5)[0])
        with pytest.raises(ValueError, match="seq 4 after 5"):
            relay.publish(events(4, 4)[0])


async def test_at_full_speed_nobody_is_lost() -> None:
    async with Relay(window=50) as relay, asyncio.timeout(DEADLINE), asyncio.TaskGroup() as tasks:
        tasks.create_task(relay.feed(events(1, 2_000)))
        async with subscribed(relay) as client:
            assert await seqs(client, 2_000) == list(range(1, 2_001))
        assert relay.slow == 0


async def test_a_rate_is_never_exceeded() -> None:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    async with Relay() as relay, asyncio.timeout(DEADLINE), asyncio.TaskGroup() as tasks:
        feeding = tasks.create_task(relay.feed(World(1, 5), rate=500))
        while relay.newest < 60:
            assert relay.newest <= (loop.time() - begun) * 500 + 1
            await asyncio.sleep(0.001)
        feeding.cancel()


async def test_leaving_a_relay_ends_its_clients() -> None:
    async with Relay() as relay:
        client = await connect(relay.url + wire.ENDPOINT)
    with pytest.raises(ConnectionClosed):
        await client.recv()
    assert client.close_code == 1001
    assert relay.clients == 0
