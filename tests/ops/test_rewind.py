from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firehose_indexer.ops.rewind import CLOSE_ENOUGH_SECONDS, MAX_PROBES, Mark, seq_at

START = datetime(2026, 1, 1, tzinfo=UTC)


class Relay:
    """Events with seqs that skip and times that come in bursts; answers like a relay."""

    def __init__(self, events: list[Mark]) -> None:
        self.events = events
        self.asked = 0

    async def probe(self, cursor: int) -> Mark:
        self.asked += 1
        return next(event for event in self.events if event.seq > cursor)


def relay(steps: list[tuple[int, float]]) -> Relay:
    seq, time, events = 100, START, []
    for skip, seconds in steps:
        seq += skip
        time += timedelta(seconds=seconds)
        events.append(Mark(seq, time))
    return Relay(events)


async def test_a_moment_before_the_window_gives_its_oldest_event():
    served = relay([(1, 1.0)] * 100)
    assert await seq_at(START - timedelta(days=1), served.events[-1], served.probe) == served.events[0]


async def test_a_steady_stream_takes_few_questions():
    served = relay([(1, 1.0)] * 100_000)
    found = await seq_at(START + timedelta(seconds=70_000), served.events[-1], served.probe)
    assert (
        timedelta(0)
        <= START + timedelta(seconds=70_000) - found.time
        <= timedelta(seconds=CLOSE_ENOUGH_SECONDS)
    )
    assert served.asked <= 10


async def test_a_relay_without_anything_older_gives_what_it_has():
    served = relay([(1, 1.0)])
    assert await seq_at(START + timedelta(hours=1), served.events[0], served.probe) == served.events[0]


@given(
    st.lists(st.tuples(st.integers(1, 1000), st.floats(0, 500)), min_size=2, max_size=200),
    st.floats(0, 1),
)
async def test_the_answer_is_an_event_at_or_before_the_moment_whatever_the_stream(steps, part):
    served = relay(steps)
    first, last = served.events[0], served.events[-1]
    moment = first.time + (last.time - first.time) * part
    found = await seq_at(moment, last, served.probe)
    assert served.asked <= MAX_PROBES + 1
    assert found in served.events
    assert found.time <= moment or found == first
    after = [event for event in served.events if found.seq < event.seq and event.time <= moment]
    near = (moment - found.time).total_seconds() <= CLOSE_ENOUGH_SECONDS
    # A relay that reads cursors as exclusive hides one event behind the cursor itself.
    assert near or len(after) <= 1


async def test_errors_of_the_relay_pass_through():
    async def probe(_: int) -> Mark:
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        await seq_at(START, Mark(1, START), probe)
