from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from firehose_indexer.errors import RelayRefused
from firehose_indexer.stream.events import Gap, Poison
from firehose_indexer.stream.intake import Position
from firehose_indexer.stream.recording import read_frames
from firehose_indexer.stream.session import Session
from firehose_indexer.stream.source import parse_source
from firehose_indexer.stream.transport import Dialing
from tests.stream.stream_wire import (
    DEVNET,
    TIME,
    Counts,
    FakeClock,
    error_frame,
    frame,
    identity,
    refusal,
    relay,
)

WHEN = datetime(2026, 11, 22, 11, tzinfo=UTC)
OUTDATED = frame("#info", name="OutdatedCursor")
FUTURE = next(iter(read_frames(DEVNET / "edge-future.frames")))
TOO_SLOW = next(iter(read_frames(DEVNET / "edge-tooslow.frames")))


class Downstream:
    """Commits what it is given, at once: the position follows the delivery."""

    def __init__(self, watermark=None, other=None):
        self.items = []
        self.watermarks = {}
        self.start = watermark
        self.other = other
        self.follow = True

    async def position(self, source):
        watermark = self.watermarks.get(source.host, self.start)
        return None if watermark is None else Position(watermark, WHEN)

    async def other_position(self, source):
        return self.other

    async def deliver(self, source, items):
        self.items += items
        for item in items:
            if self.follow and getattr(item, "seq", None) is not None:
                self.watermarks[source.host] = item.seq

    @property
    def seqs(self):
        return [item.seq for item in self.items if hasattr(item, "seq")]

    @property
    def gaps(self):
        return [item for item in self.items if isinstance(item, Gap)]


class Rig:
    def __init__(self, servers, downstream, **options):
        self.clock = FakeClock()
        self.metrics = Counts()
        self.downstream = downstream
        self.session = Session(
            [parse_source(server.url) for server in servers],
            options.pop("dialing", Dialing("t")),
            self.metrics,
            position=downstream.position,
            other_position=downstream.other_position,
            clock=self.clock,
            uniform=lambda low, high: high,
            tick=options.pop("tick", 0.01),
            **options,
        )

    @asynccontextmanager
    async def running(self):
        task = asyncio.ensure_future(self.session.run(self.downstream.deliver))
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until(self, condition):
        """Run until ``condition()``; an end of the session comes out here."""
        async with asyncio.timeout(10), self.running() as task:
            while not condition():
                if task.done():
                    await task
                await asyncio.sleep(0.001)


def cursors(server):
    return [path.partition("cursor=")[2] or None for path in server.paths]


async def test_the_first_start_is_live_and_later_ones_resume_at_the_watermark():
    async with relay([identity(5), identity(6), 1001], [identity(6), identity(7)]) as server:
        rig = Rig([server], Downstream())
        await rig.until(lambda: 7 in rig.downstream.seqs)
    assert cursors(server) == [None, "6"]
    assert rig.downstream.seqs == [5, 6, 7]
    assert rig.metrics.ended == ["close_1001"]
    assert rig.clock.slept == [2.0]
    assert rig.session.status.received == 7
    assert rig.session.status.event_time == TIME


async def test_oldest_starts_at_zero():
    async with relay([identity(1)]) as server:
        rig = Rig([server], Downstream(), cursor_start="oldest")
        await rig.until(lambda: rig.downstream.seqs)
    assert cursors(server) == ["0"]


async def test_the_watermark_is_read_again_and_what_is_in_flight_comes_once():
    async with relay(
        [identity(n) for n in (11, 12, 13)] + [1000], [identity(n) for n in (10, 11, 12, 13, 14)]
    ) as server:
        downstream = Downstream(watermark=10)
        downstream.follow = False
        rig = Rig([server], downstream)
        await rig.until(lambda: 14 in downstream.seqs)
    assert cursors(server) == ["10", "10"]
    assert downstream.seqs == [11, 12, 13, 14]


async def test_handed_over_but_nothing_committed_resumes_there():
    async with relay([identity(5), 1000], [identity(5), identity(6)]) as server:
        downstream = Downstream()
        downstream.follow = False
        rig = Rig([server], downstream)
        await rig.until(lambda: 6 in downstream.seqs)
    assert cursors(server) == [None, "5"]
    assert downstream.seqs == [5, 6]


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1011, 3000])
async def test_every_close_code_leads_to_a_reconnect(code):
    async with relay([identity(5), code], [identity(6)]) as server:
        rig = Rig([server], Downstream())
        await rig.until(lambda: 6 in rig.downstream.seqs)
    assert rig.metrics.ended == [f"close_{code}" if code < 3000 else "close_other"]


async def test_a_poison_frame_costs_one_reconnect():
    script = [identity(5), b"\xff", identity(6)]
    async with relay(script) as server:
        rig = Rig([server], Downstream(watermark=4))
        await rig.until(lambda: 6 in rig.downstream.seqs)
    assert [type(item).__name__ for item in rig.downstream.items] == ["Identity", "Poison", "Gap", "Identity"]
    assert rig.downstream.gaps[0].from_seq == 5
    assert rig.metrics.ended == ["poison"]
    assert server.close_codes[0] == 1002
    assert rig.metrics.kinds["poison"] == 2


async def test_a_message_too_large_to_read_is_read_and_skipped_the_second_time():
    async with relay([identity(5), b"\x01" * 7_000_000, identity(6)]) as server:
        rig = Rig([server], Downstream(watermark=4))
        await rig.until(lambda: 6 in rig.downstream.seqs)
    poison = rig.downstream.items[1]
    assert isinstance(poison, Poison)
    assert (poison.size, poison.after_seq) == (7_000_000, 5)
    assert rig.metrics.ended == ["poison"]
    assert server.close_codes[0] == 1009


async def test_a_regression_of_seq_reconnects_twice_then_is_skipped():
    async with relay([identity(5), identity(9), identity(7), identity(10)]) as server:
        downstream = Downstream(watermark=4)
        downstream.follow = False
        rig = Rig([server], downstream)
        await rig.until(lambda: 10 in downstream.seqs)
    assert downstream.seqs == [5, 9, 10]
    assert rig.metrics.ended == ["seq_not_increasing"] * 2


async def test_outdated_cursor_becomes_a_gap_before_the_first_event():
    sent = list(read_frames(DEVNET / "edge-outdated.frames"))
    async with relay(sent) as server:
        rig = Rig([server], Downstream(watermark=3))
        await rig.until(lambda: len(rig.downstream.seqs) == 5)
    gap, first = rig.downstream.items[:2]
    assert (gap.kind, gap.from_seq, gap.to_seq) == ("outdated_cursor", 3, first.seq - 1)
    assert (gap.from_time, gap.to_time) == (WHEN.isoformat(), first.time)


@pytest.mark.parametrize("how", ["frame", "http"])
async def test_a_future_cursor_halts_with_the_remedy(how):
    answer = [FUTURE] if how == "frame" else refusal(400, b'{"error":"FutureCursor","message":"x"}')
    async with relay(answer) as server:
        rig = Rig([server], Downstream(watermark=99))
        with pytest.raises(RelayRefused) as refused:
            await rig.until(lambda: False)
    assert "says our cursor 99 is in the future" in str(refused.value)
    assert "run --future-cursor live" in refused.value.hint
    assert refused.value.exit_code == 5


@pytest.mark.parametrize(("policy", "cursor"), [("live", None), ("oldest", "0")])
async def test_a_future_cursor_may_open_a_gap_instead(policy, cursor):
    async with relay([FUTURE], [1000], [identity(3), 1000], [identity(4)]) as server:
        rig = Rig([server], Downstream(watermark=99), future_cursor=policy)
        await rig.until(lambda: 4 in rig.downstream.seqs)
    assert cursors(server) == ["99", cursor, cursor, "3"]
    gap = rig.downstream.gaps[0]
    assert (gap.kind, gap.from_seq, gap.to_seq, gap.to_time) == ("future_cursor", None, 2, TIME)
    assert len(rig.downstream.gaps) == 1


async def test_a_future_cursor_again_within_the_hour_halts():
    async with relay([FUTURE], [identity(3), FUTURE]) as server:
        rig = Rig([server], Downstream(watermark=99), future_cursor="live")
        with pytest.raises(RelayRefused):
            await rig.until(lambda: len(server.paths) > 5)
    assert cursors(server) == ["99", None, "3"]


async def test_a_future_cursor_again_after_the_hour_does_not():
    go = asyncio.Event()

    async def three(ws):
        await ws.send(identity(3))
        await go.wait()
        await ws.close(1000)

    async with relay([FUTURE], three, [FUTURE], [identity(1)]) as server:
        rig = Rig([server], Downstream(watermark=99), future_cursor="live")
        async with asyncio.timeout(10), rig.running() as task:
            while 3 not in rig.downstream.seqs:
                await asyncio.sleep(0.001)
            rig.clock.at += 3601
            go.set()
            while 1 not in rig.downstream.seqs:
                assert not task.done()
                await asyncio.sleep(0.001)
    assert len(rig.downstream.gaps) == 2


async def test_consumer_too_slow_three_times_in_ten_minutes_is_backpressure():
    async with relay([TOO_SLOW], [TOO_SLOW], [TOO_SLOW], [identity(1)]) as server:
        rig = Rig([server], Downstream(watermark=0))
        await rig.until(lambda: rig.downstream.seqs)
    assert rig.metrics.ended == ["consumer_too_slow"] * 3
    assert rig.session.status.backpressure(rig.clock.at)
    assert not rig.session.status.backpressure(rig.clock.at + 700)


async def test_an_unknown_error_frame_backs_off_and_goes_on():
    async with relay([error_frame("Weird", "why")], [identity(1)]) as server:
        rig = Rig([server], Downstream())
        await rig.until(lambda: rig.downstream.seqs)
    assert rig.metrics.ended == ["error_frame"]
    assert rig.clock.slept == [1.0]
    assert rig.session.status.last_error == "error_frame: Weird"


@pytest.mark.parametrize("status", [401, 403, 404, 405, 426, 501])
async def test_a_refusal_for_good_ends_the_first_start_but_not_a_running_one(status):
    async with relay(refusal(status)) as server:
        with pytest.raises(RelayRefused, match=str(status)):
            await Rig([server], Downstream()).until(lambda: False)
    async with relay([identity(1), 1000], refusal(status), [identity(2)]) as server:
        rig = Rig([server], Downstream())
        await rig.until(lambda: 2 in rig.downstream.seqs)
    assert rig.metrics.ended == ["close_1000", f"http_{status}"]
    assert rig.clock.slept[-1] == 300.0


@pytest.mark.parametrize("status", [400, 408, 425, 429, 500, 502, 503, 504, 418, 599])
async def test_other_refusals_back_off(status):
    async with relay(refusal(status, b"<html>"), refusal(status), [identity(2)]) as server:
        rig = Rig([server], Downstream())
        await rig.until(lambda: 2 in rig.downstream.seqs)
    assert rig.clock.slept == [1.0, 2.0]
    assert len(set(rig.metrics.ended)) == 1


async def test_retry_after_is_obeyed_up_to_an_hour():
    async with relay(
        refusal(429, Retry_After="90"), refusal(503, Retry_After="999999"), [identity(2)]
    ) as server:
        rig = Rig([server], Downstream())
        await rig.until(lambda: 2 in rig.downstream.seqs)
    assert rig.clock.slept == [90.0, 3600.0]


async def test_a_silent_source_is_left_and_called_quiet_when_it_stays_silent():
    async with relay([identity(1)], []) as server:
        rig = Rig([server], Downstream())
        states = set()
        async with asyncio.timeout(10), rig.running():
            while len(server.paths) < 4:
                states.add(rig.session.status.state)
                if rig.session.status.connected and (1 in rig.downstream.seqs):
                    rig.clock.at += 300.0
                await asyncio.sleep(0.005)
    assert rig.metrics.ended[:3] == ["stalled"] * 3
    assert "quiet" in states


async def test_time_spent_downstream_is_no_stall():
    blocked, go = asyncio.Event(), asyncio.Event()
    async with relay([identity(1), identity(2)]) as server:
        rig = Rig([server], Downstream())
        real = rig.downstream.deliver

        async def deliver(source, items):
            blocked.set()
            await go.wait()
            await real(source, items)

        rig.downstream.deliver = deliver
        async with asyncio.timeout(10), rig.running():
            await blocked.wait()
            rig.clock.at += 10_000.0
            go.set()
            while 2 not in rig.downstream.seqs:
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.05)
            assert rig.session.status.state == "live"
    assert rig.metrics.ended == []


async def test_a_blocked_downstream_stops_the_reading_and_nothing_is_lost():
    sent = []

    async def flood(ws):
        for n in range(1, 301):
            await ws.send(identity(n, x=b"\x00" * 200_000))
            sent.append(n)

    go = asyncio.Event()
    async with relay(flood) as server:
        rig = Rig([server], Downstream(), dialing=Dialing("t", queue_bytes=1_000_000))
        real = rig.downstream.deliver

        async def deliver(source, items):
            await go.wait()
            await real(source, items)

        rig.downstream.deliver = deliver
        async with asyncio.timeout(20), rig.running():
            before = -1
            while len(sent) != before or not sent:
                before = len(sent)
                await asyncio.sleep(0.05)
            assert len(sent) < 290
            go.set()
            while 300 not in rig.downstream.seqs:
                await asyncio.sleep(0.001)
    assert rig.downstream.seqs == list(range(1, 301))


async def test_three_barren_attempts_lead_to_the_next_source_with_its_own_cursor():
    other = Position(5, WHEN)
    async with relay(refusal(503)) as first, relay([identity(50), 1000], [identity(51)]) as second:
        downstream = Downstream(other=other)
        downstream.watermarks[f"127.0.0.1:{first.port}"] = 5
        rig = Rig([first, second], downstream)
        await rig.until(lambda: 51 in downstream.seqs)
    assert cursors(first) == ["5", "5", "5"]
    assert cursors(second) == [None, "50"]
    assert [gap.kind for gap in downstream.gaps] == ["relay_switch"]
    assert (downstream.items[0].from_time, downstream.items[0].to_time) == (WHEN.isoformat(), TIME)
    assert rig.session.status.source.host == f"127.0.0.1:{second.port}"


async def test_another_hosts_watermark_at_the_start_is_a_relay_switch():
    async with relay([1000], [identity(7)]) as server:
        rig = Rig([server], Downstream(other=Position(5, WHEN)), cursor_start="oldest")
        await rig.until(lambda: rig.downstream.seqs)
    assert cursors(server) == [None, None]
    assert rig.downstream.items[0] == Gap(
        "relay_switch", None, 6, WHEN.isoformat(), TIME, rig.downstream.items[0].note
    )


async def test_the_recorder_sees_every_message_as_it_came():
    class Tape(list):
        def tap(self, messages):
            self += messages

    tape = Tape()
    script = [identity(5), frame("#new"), "text"]
    async with relay(script) as server:
        rig = Rig([server], Downstream(), recorder=tape)
        await rig.until(lambda: len(tape) >= 3)
    assert tape[:3] == script


async def test_what_downstream_raises_comes_out():
    async with relay([identity(1)]) as server:
        rig = Rig([server], Downstream())

        async def broken(source, items):
            raise ZeroDivisionError

        rig.downstream.deliver = broken
        with pytest.raises(ZeroDivisionError):
            await rig.until(lambda: False)


async def test_lag_that_grows_while_we_are_idle_asks_for_a_new_connection():
    async def trickle(ws):
        for seq in range(1, 100):
            await ws.send(identity(seq))
            while rig.session.status.received != seq:
                await asyncio.sleep(0.001)
            rig.clock.at += 31.0
            await asyncio.sleep(0.02)

    async with relay(trickle, []) as server:
        rig = Rig([server], Downstream())
        await rig.until(lambda: len(server.paths) == 2)
    assert rig.metrics.ended == ["trickle"]


async def test_what_was_on_its_way_when_the_cursor_was_refused_is_disowned_too():
    async with relay([identity(100), identity(101), FUTURE], [1000], [identity(3)]) as server:
        rig = Rig([server], Downstream(watermark=99), future_cursor="live")
        await rig.until(lambda: 3 in rig.downstream.seqs)
    assert cursors(server) == ["99", None, None]
    assert rig.downstream.watermarks == {rig.session.status.source.host: 3}
