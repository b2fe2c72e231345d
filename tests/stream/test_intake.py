from __future__ import annotations

from datetime import UTC, datetime

import pytest

from firehose_indexer.errors import Reason
from firehose_indexer.stream.events import Gap, Identity, Ignored, Malformed, Poison
from firehose_indexer.stream.intake import KEPT_OF_OVERSIZE, Intake, Position
from tests.stream.stream_wire import TIME, error_frame, frame, identity

WHEN = datetime(2026, 11, 22, 11, tzinfo=UTC)
BAD = b"\xff\xff"
OUTDATED = frame("#info", name="OutdatedCursor", message="too old")


def at(watermark):
    return Position(watermark, WHEN)


def begun(position=None, pending=None):
    intake = Intake()
    intake.connected(position, pending)
    return intake


def seqs(taken):
    return [item.seq for item in taken.items]


def test_events_come_in_order_and_gaps_in_seq_are_legal():
    intake = begun()
    taken = intake.take([identity(5), identity(6), identity(90)])
    assert seqs(taken) == [5, 6, 90]
    assert (taken.stop, taken.used, taken.kinds) == (None, 3, {"identity": 3})
    assert (intake.last, intake.event_time) == (90, TIME)


def test_replay_up_to_the_cursor_is_skipped_at_the_start_only():
    intake = begun(at(10))
    assert seqs(intake.take([identity(9), identity(10), identity(11)])) == [11]
    assert intake.take([identity(11)]).stop.reason == "seq_not_increasing"


def test_what_was_handed_over_but_not_committed_is_not_handed_over_again():
    intake = begun(at(10))
    intake.take([identity(n) for n in range(10, 21)])
    intake.connected(at(12))
    assert seqs(intake.take([identity(n) for n in range(12, 23)])) == [21, 22]


def test_a_regression_stops_twice_and_is_skipped_the_third_time():
    intake = begun(at(10))
    outcomes = []
    for _ in range(3):
        taken = intake.take([identity(20), identity(15), identity(21)])
        outcomes.append((seqs(taken), taken.stop and taken.stop.reason))
        intake.connected(at(10))
    assert outcomes == [([20], "seq_not_increasing"), ([], "seq_not_increasing"), ([21], None)]
    assert taken.notices == [("frame.seq_not_increasing", "15 after 20")]


def test_a_regression_at_another_place_begins_to_count_anew():
    intake = begun(at(10))
    for seq in (20, 22, 24, 26):
        assert intake.take([identity(seq), identity(15)]).stop is not None
        intake.connected(at(10))


def test_poison_costs_one_reconnect_and_then_leaves_a_gap():
    intake = begun(at(4))
    first = intake.take([identity(5), BAD, identity(6)])
    assert first.items[1:] == [
        Poison(Reason.frame_header_invalid, first.items[1].detail, BAD, 2, 5),
    ]
    assert (first.stop.reason, first.stop.code, first.used) == ("poison", 1002, 2)
    intake.connected(at(4))
    again = intake.take([identity(5), BAD, identity(6)])
    assert again.stop is None
    gap, event = again.items
    assert (gap.kind, gap.from_seq, gap.to_seq, event.seq) == ("frame", 5, None, 6)
    # Met a third time, when the same stretch is replayed, it is simply skipped.
    intake.connected(at(4))
    third = intake.take([identity(5), BAD, identity(6), identity(7)])
    assert (seqs(third), third.stop) == ([7], None)


def test_two_poisons_at_one_place_cost_one_reconnect_each():
    intake = begun(at(4))
    stops = []
    for _ in range(3):
        taken = intake.take([identity(5), BAD, b"", identity(6)])
        stops.append(taken.stop and taken.stop.reason)
        intake.connected(at(5))
    assert stops == ["poison", "poison", None]
    assert [type(item) for item in taken.items] == [Gap, Identity]


def test_the_same_bytes_after_another_event_are_new_poison():
    intake = begun(at(4))
    intake.take([identity(5), BAD])
    intake.connected(at(5))
    taken = intake.take([identity(6), BAD])
    assert [type(item) for item in taken.items] == [Identity, Poison]
    assert taken.stop is not None


def test_a_text_message_is_kept_as_its_bytes():
    item = begun().take(["h\N{BULLET}"]).items[0]
    assert (item.reason, item.body, item.size, item.after_seq) == (
        Reason.frame_text,
        b"h\xe2\x80\xa2",
        4,
        None,
    )


def test_of_a_frame_too_big_the_beginning_is_kept_and_it_closes_with_1009():
    taken = begun(at(3)).take([b"\x01" * 5_242_881])
    poison = taken.items[0]
    assert (poison.reason, len(poison.body), poison.size) == (
        Reason.frame_too_big,
        KEPT_OF_OVERSIZE,
        5_242_881,
    )
    assert (poison.after_seq, taken.stop.code) == (3, 1009)


def test_a_message_refused_unread_is_skipped_once_it_can_be_read():
    intake = begun(at(3))
    taken = intake.oversize(9_000_000)
    assert (taken.items[0].size, taken.items[0].body, taken.stop.code) == (9_000_000, b"", 1009)
    assert intake.oversize(9_000_000).items == []
    intake.connected(at(3))
    taken = intake.take([b"\x01" * 9_000_000, identity(4)])
    assert taken.stop is None
    assert [type(item) for item in taken.items] == [Gap, Identity]


def test_a_broken_error_frame_is_poison_every_time():
    intake = begun(at(3))
    broken = bytes.fromhex("a1626f7020a0")
    for _ in range(3):
        taken = intake.take([broken])
        assert taken.stop.reason == "poison"
        assert len(taken.items) == 1
        intake.connected(at(3))


def test_malformed_and_ignored_advance_the_seq():
    intake = begun(at(3))
    taken = intake.take([frame("#identity", seq=4, did=5, time=TIME), frame("#new", seq=5), frame("#new")])
    assert [type(item) for item in taken.items] == [Malformed, Ignored]
    assert intake.last == 5
    assert taken.kinds == {"malformed": 1, "ignored": 2}


@pytest.mark.parametrize(
    ("error", "reason"),
    [("FutureCursor", "future_cursor"), ("ConsumerTooSlow", "consumer_too_slow"), ("Other", "error_frame")],
)
def test_an_error_frame_stops_with_a_label_of_a_closed_set(error, reason):
    taken = begun().take([error_frame(error, "x" * 999), identity(1)])
    assert (taken.stop.reason, taken.stop.error, len(taken.stop.detail)) == (reason, error, 200)
    assert taken.used == 1


def test_outdated_cursor_is_a_gap_delivered_just_before_the_first_event():
    intake = begun(at(10))
    assert intake.take([OUTDATED]).items == []
    gap, event = intake.take([identity(50)]).items
    assert gap == Gap("outdated_cursor", 10, 49, WHEN.isoformat(), TIME, "too old")
    assert event.seq == 50


def test_outdated_cursor_starts_where_this_process_already_is():
    intake = begun(at(10))
    intake.take([identity(n) for n in range(11, 31)])
    intake.connected(at(12))
    gap, _ = intake.take([OUTDATED, identity(50)]).items
    assert (gap.from_seq, gap.to_seq, gap.from_time) == (30, 49, TIME)


@pytest.mark.parametrize("first", [11, 10, 5])
def test_outdated_cursor_without_a_hole_is_no_gap(first):
    intake = begun(at(10))
    taken = intake.take([OUTDATED, identity(first), identity(20)])
    assert [type(item) for item in taken.items] == [Identity] * (2 if first == 11 else 1)


def test_outdated_cursor_before_anything_was_promised_is_no_gap():
    assert [type(i) for i in begun(None).take([OUTDATED, identity(50)]).items] == [Identity]


def test_a_pending_gap_ends_at_the_first_event_even_one_without_time():
    pending = Gap("relay_switch", None, None, "t0", None, "new.example")
    taken = begun(None, pending).take([frame("#new"), frame("#new", seq=7), identity(8)])
    assert taken.items[0] == pending._replace(to_seq=6)
    assert seqs(taken._replace(items=taken.items[1:])) == [7, 8]


def test_an_unknown_info_is_told_once_a_connection():
    intake = begun(at(1))
    info = frame("#info", name="Maintenance")
    assert intake.take([info, info]).notices == [("relay.info", "Maintenance")]
    intake.connected(at(1))
    assert len(intake.take([info]).notices) == 1
    assert sum(len(intake.take([frame("#info", name=f"n{n}")]).notices) for n in range(99)) < 16


def test_a_forgotten_sequence_may_begin_again_lower():
    intake = begun(at(10))
    intake.take([identity(11)])
    intake.forget()
    intake.connected(None)
    assert seqs(intake.take([identity(2)])) == [2]
