from __future__ import annotations

import asyncio

import libipld
import pytest

from firehose_indexer.errors import FrameError, Reason
from firehose_indexer.sim import faults, wire
from firehose_indexer.sim.faults import POISON, Fault, Faults, Shuffled
from firehose_indexer.sim.relay import Relay
from firehose_indexer.sim.wire import Emitted
from firehose_indexer.sim.world import World
from firehose_indexer.stream.events import Ignored
from firehose_indexer.stream.frames import parse
from tests.sim.clients import DEADLINE, events, next_messages, seqs, seqs_of, subscribed, until_closed


def relay_with(fault: Fault, seq: int = 3, times: int = 1) -> Relay:
    plan = Faults()
    plan.plan(seq, fault, times)
    return Relay(faults=plan)


def fill(relay: Relay, last: int = 6) -> None:
    for event in events(1, last):
        relay.publish(event)


async def test_drop_cuts_before_the_event_and_resuming_brings_it() -> None:
    async with relay_with(faults.drop()) as relay:
        fill(relay)
        async with subscribed(relay, 0) as client:
            received, code = await until_closed(client)
        assert list(seqs_of(received)) == [1, 2]
        assert code == 1006
        assert relay.faults.fired == {"drop": 1}
        async with subscribed(relay, 2) as client:
            assert await seqs(client, 4) == [3, 4, 5, 6]


async def test_close_has_its_code() -> None:
    async with relay_with(faults.close(1012)) as relay:
        fill(relay)
        async with subscribed(relay, 0) as client:
            received, code = await until_closed(client)
    assert (len(received), code) == (2, 1012)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (faults.duplicate(), [1, 2, 3, 3, 4, 5, 6]),
        (faults.replay(2), [1, 2, 3, 2, 3, 4, 5, 6]),
        (faults.backwards(2), [1, 2, 1, 4, 5, 6]),
        (faults.stall(0.01), [1, 2, 3, 4, 5, 6]),
        (faults.trickle(2, 0.01), [1, 2, 3, 4, 5, 6]),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
async def test_what_a_client_sees(fault: Fault, expected: list[int]) -> None:
    async with relay_with(fault) as relay:
        fill(relay)
        async with subscribed(relay, 0) as client:
            assert await seqs(client, len(expected)) == expected
        assert relay.faults.fired == {fault.name: 1}
        assert relay.faults.pending == 0


async def test_a_stalled_relay_answers_pings() -> None:
    async with relay_with(faults.stall(30.0), seq=1) as relay, subscribed(relay) as client:
        fill(relay, last=1)
        async with asyncio.timeout(DEADLINE):
            while not relay.faults.fired:
                await asyncio.sleep(0.001)
            await (await client.ping())
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.recv(), 0.05)


async def test_an_error_frame_ends_the_connection() -> None:
    async with relay_with(faults.error("ConsumerTooSlow", "too slow")) as relay:
        fill(relay)
        async with subscribed(relay, 0) as client:
            received, code = await until_closed(client)
    last = received[-1]
    assert isinstance(last, bytes)
    header, body = libipld.decode_dag_cbor_multi(last)
    assert (header, body) == ({"op": -1}, {"error": "ConsumerTooSlow", "message": "too slow"})
    assert code == 1008


async def test_a_text_message_is_text() -> None:
    async with relay_with(faults.text()) as relay:
        fill(relay)
        async with subscribed(relay, 0) as client:
            assert isinstance((await next_messages(client, 3))[2], str)


async def test_an_oversize_message_is_over_the_limit() -> None:
    async with relay_with(faults.oversize()) as relay:
        fill(relay)
        async with subscribed(relay, 0) as client:
            assert len((await next_messages(client, 3))[2]) > 5_242_880


POISON_REASONS = {
    "empty": Reason.frame_empty,
    "not cbor": Reason.frame_header_invalid,
    "header is a list": Reason.frame_header_invalid,
    "header without op": Reason.frame_header_invalid,
    "header op is text": Reason.frame_header_invalid,
    "header without t": Reason.frame_header_invalid,
    "header t is a number": Reason.frame_header_invalid,
    "no payload": Reason.frame_payload_invalid,
    "truncated": Reason.frame_payload_invalid,
    "payload is a list": Reason.frame_payload_invalid,
    "payload with a float": Reason.frame_payload_invalid,
    "payload of indefinite length": Reason.frame_payload_invalid,
    "trailing bytes": Reason.frame_trailing,
    "seq is text": Reason.seq_invalid,
    "seq is zero": Reason.seq_invalid,
    "seq is too big": Reason.seq_invalid,
}


def test_every_poison_has_a_reason() -> None:
    assert set(POISON_REASONS) == set(POISON)


@pytest.mark.parametrize("case", POISON)
async def test_poison_is_what_it_says_and_comes_once(case: str) -> None:
    async with relay_with(faults.poison(case)) as relay:
        fill(relay)
        async with subscribed(relay, 0) as client:
            message = (await next_messages(client, 3))[2]
        with pytest.raises(FrameError) as refused:
            parse(message)
        assert refused.value.reason is POISON_REASONS[case]
        async with subscribed(relay, 2) as client:
            assert await seqs(client, 1) == [3]


async def test_times_repeats_a_fault_at_the_same_event_only() -> None:
    async with relay_with(faults.poison("trailing bytes"), times=2) as relay:
        fill(relay)
        for expected in (FrameError, FrameError, None):
            async with subscribed(relay, 2) as client:
                poisoned, clean = await next_messages(client, 2)
            assert parse(clean) is not None
            if expected is None:
                assert not isinstance(parse(poisoned), Ignored)
            else:
                with pytest.raises(expected):
                    parse(poisoned)
        assert relay.faults.fired.total() == 2


def test_a_fault_waits_for_an_event_that_suits_it() -> None:
    plan = Faults()
    plan.plan(1, faults.forged("bad signature"))
    world = World(1, 20)
    fired_at = 0
    for event in world.take(200):
        plan.steps(event)
        fired_at = fired_at or (event.seq if plan.fired else 0)
    # Account creation is four events, none of them a commit with operations.
    assert fired_at == 5
    assert plan.fired == {"forged bad signature": 1}


def test_recurring_faults_recur() -> None:
    plan = Faults()
    plan.recur(faults.drop(), 10)
    plan.recur(faults.duplicate(), 50)
    for event in events(1, 5_000):
        plan.steps(event)
    assert plan.fired["drop"] == pytest.approx(500, rel=0.2)
    assert plan.fired["duplicate"] == pytest.approx(90, rel=0.4)


def test_shuffled_moves_across_repositories_and_never_within_one() -> None:
    original = World(1, 30).take(600)
    shuffled = Shuffled(original, seed=1)
    result = list(shuffled)
    assert shuffled.moved > 100
    assert [event.seq for event in result] == [event.seq for event in original]
    assert [wire.decode(event.frame)[1]["seq"] for event in result] == [event.seq for event in result]

    def per_repository(stream: list[Emitted]) -> dict[str, list[bytes]]:
        frames: dict[str, list[bytes]] = {}
        for event in stream:
            frames.setdefault(event.did, []).append(wire.restamp(event.frame, 1))
        return frames

    assert per_repository(result) == per_repository(original)
    assert [event.did for event in result] != [event.did for event in original]
