from __future__ import annotations

import socket
from itertools import islice

import pytest

from firehose_indexer.errors import RelayRefused
from firehose_indexer.ops import probe
from firehose_indexer.ops.probe import first_event
from firehose_indexer.sim.relay import Relay
from firehose_indexer.sim.world import World
from firehose_indexer.stream.source import parse_source


@pytest.fixture
async def relay():
    async with Relay() as relay:
        for event in islice(World(1, 3), 20):
            relay.publish(event)
        yield relay


async def test_a_cursor_is_answered_with_the_event_after_it(relay):
    source = parse_source(relay.url)
    oldest = await first_event(source, 0)
    assert (await first_event(source, oldest.seq)).seq > oldest.seq
    assert oldest.time.tzinfo is not None


async def test_an_error_of_the_relay_is_told_in_its_words(relay):
    with pytest.raises(RelayRefused, match="FutureCursor"):
        await first_event(parse_source(relay.url), relay.newest + 1000)


async def test_silence_is_an_error(relay, monkeypatch):
    monkeypatch.setattr(probe, "PROBE_SECONDS", 0.05)
    with pytest.raises(RelayRefused, match="no event"):
        await first_event(parse_source(relay.url), None)


async def test_nobody_there_is_an_error_with_a_hint():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(RelayRefused) as caught:
            await first_event(parse_source(url), None)
    assert caught.value.hint
