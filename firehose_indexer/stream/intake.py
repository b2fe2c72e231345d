"""Messages of one source become items in seq order, across reconnects (spec/protocol §1, §3). Pure.

What a connection must do next comes back as a value, so a socket and a recording obey the same rules.
"""

from __future__ import annotations

import hashlib
from collections import Counter, OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from firehose_indexer.errors import FrameError, Reason
from firehose_indexer.stream.endings import Stop, stop_for_error
from firehose_indexer.stream.events import (
    Account,
    Commit,
    ErrorFrame,
    Event,
    Gap,
    Identity,
    Ignored,
    Info,
    Malformed,
    Poison,
    Sync,
)
from firehose_indexer.stream.frames import parse

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from firehose_indexer.stream.events import Item

_K = TypeVar("_K")
_V = TypeVar("_V")
_Sequenced = Event | Malformed | Ignored

KEPT_OF_OVERSIZE: Final = 65_536
"""Bytes kept of a message over the limit."""
PATIENCE: Final = 3
"""A regression of seq at one place ends the connection until it is seen this many times."""
_REMEMBERED: Final = 1024
_INFORMED: Final = 16


class Position(NamedTuple):
    """What is committed for a source: the watermark, and the event time there."""

    watermark: int
    event_time: datetime | None


class Taken(NamedTuple):
    """``items`` to deliver, ``used`` messages consumed, and why to stop, if so.

    ``notices`` are facts for the log: event name and detail.
    """

    items: list[Item]
    used: int
    stop: Stop | None
    kinds: Counter[str]
    notices: list[tuple[str, str]]


class Intake:
    """The seq rules of one source. ``last`` is the highest seq handed over in this process."""

    def __init__(self) -> None:
        self.last: int | None = None
        self.event_time: str | None = None
        self._position: Position | None = None
        self._previous = 0  # the last seq of this connection
        self._floor = 0  # replayed up to here
        self._replayed = False
        self._informed: set[str] = set()
        self._pending: Gap | None = None
        # What already cost a reconnect, by its place, so that it never costs a second one.
        self._poisoned: OrderedDict[tuple[int, bytes], bool] = OrderedDict()
        self._regressions: OrderedDict[tuple[int, int], int] = OrderedDict()

    def connected(self, position: Position | None, pending: Gap | None = None) -> None:
        """A connection begins, its cursor taken from ``position``.

        ``pending`` is a gap whose end the first event tells; it is delivered just before that event.
        """
        self._position = position
        self._pending = pending
        self._previous = 0
        self._floor = max(position.watermark if position else 0, self.last or 0)
        self._replayed = False
        self._informed.clear()

    def forget(self) -> None:
        """The server's sequence is another one now: nothing handed over before counts."""
        self.last = None
        self.event_time = None
        self._poisoned.clear()
        self._regressions.clear()

    def take(self, messages: Sequence[bytes | str]) -> Taken:
        """Read messages in order, up to the first that must end the connection."""
        taken = Taken([], len(messages), None, Counter(), [])
        commits = 0
        for index, message in enumerate(messages):
            try:
                parsed = parse(message)
            except FrameError as error:
                stop = self._poison(message, error, taken)
            else:
                kind = type(parsed)
                if kind is Commit:
                    commits += 1
                    stop = self._advance(parsed, taken)  # type: ignore[arg-type]
                else:
                    taken.kinds[_KINDS[kind]] += 1
                    if kind is ErrorFrame or kind is Info:
                        stop = self._aside(parsed, taken)  # type: ignore[arg-type]
                    else:
                        stop = self._advance(parsed, taken)  # type: ignore[arg-type]
            if stop is not None:
                taken = taken._replace(used=index + 1, stop=stop)
                break
        if commits:
            taken.kinds["commit"] += commits
        return taken

    def oversize(self, size: int | None) -> Taken:
        """What to do about a message so large that the transport refused to read it."""
        error = FrameError(Reason.frame_too_big, f"{'unknown' if size is None else size} bytes, not read")
        taken = Taken([], 0, None, Counter(), [])
        stop = self._poison(b"", error, taken, size=size or 0)
        return taken._replace(stop=stop or Stop("poison", 1009, error.detail))

    def _advance(self, event: _Sequenced, taken: Taken) -> Stop | None:
        seq = event.seq
        if seq is None:
            return None
        if seq <= self._previous:
            return self._regression(seq, taken)
        self._previous = seq
        if seq <= self._floor:
            self._replayed = True
            return None
        kind = type(event)
        time = None if kind is Malformed or kind is Ignored else event.time  # type: ignore[union-attr]
        if self._pending is not None:
            self._end_pending(seq, time, taken)
        self.last = seq
        self.event_time = time or self.event_time
        taken.items.append(event)
        return None

    def _end_pending(self, seq: int, time: str | None, taken: Taken) -> None:
        """The first event past a hole tells where the hole ends."""
        gap, self._pending = self._pending, None
        assert gap is not None
        served = gap.from_seq is not None and (self._replayed or seq == gap.from_seq + 1)
        if not served:
            taken.items.append(gap._replace(to_seq=seq - 1, to_time=time))

    def _aside(self, message: ErrorFrame | Info, taken: Taken) -> Stop | None:
        if isinstance(message, ErrorFrame):
            return stop_for_error(message.error, message.message)
        if message.name != "OutdatedCursor":
            if message.name not in self._informed and len(self._informed) < _INFORMED:
                self._informed.add(message.name)
                taken.notices.append(("relay.info", message.name[:200]))
        elif self._position is not None:
            start = max(self._floor, self.last or 0)
            committed = self._position.event_time if start == self._position.watermark else None
            since = committed.isoformat() if committed else self.event_time
            self._pending = Gap("outdated_cursor", start, None, since, None, message.message[:200])
        return None

    def _poison(
        self, message: bytes | str, error: FrameError, taken: Taken, *, size: int | None = None
    ) -> Stop | None:
        taken.kinds["poison"] += 1
        body = message.encode() if isinstance(message, str) else message
        too_big = error.reason is Reason.frame_too_big
        after = self._previous or (self._position.watermark if self._position else None)
        # Only its place can name a message that was never read.
        place = (after or 0, b"" if too_big else hashlib.sha256(body).digest())
        already = self._poisoned.get(place)
        if already is None or error.field == "error":
            kept = body[:KEPT_OF_OVERSIZE] if too_big else body
            size = len(body) if size is None else size
            taken.items.append(Poison(error.reason, error.detail, kept, size, after))
            _remember(self._poisoned, place, False)
            return Stop("poison", 1009 if too_big else 1002, error.code)
        if size is not None:
            return Stop("poison", 1009, error.code)
        if not already:
            _remember(self._poisoned, place, True)
            taken.items.append(Gap("frame", after, None, self.event_time, None, error.code))
            taken.notices.append(("frame.skipped", error.code))
        return None

    def _regression(self, seq: int, taken: Taken) -> Stop | None:
        place = (self._previous, seq)
        times = self._regressions.get(place, 0) + 1
        _remember(self._regressions, place, times)
        taken.kinds["regression"] += 1
        detail = f"{seq} after {self._previous}"
        if times < PATIENCE:
            return Stop("seq_not_increasing", 1002, detail)
        taken.notices.append(("frame.seq_not_increasing", detail))
        return None


def _remember(known: OrderedDict[_K, _V], place: _K, value: _V) -> None:
    known[place] = value
    known.move_to_end(place)
    if len(known) > _REMEMBERED:
        known.popitem(last=False)


_KINDS: Final = {
    Commit: "commit",
    Sync: "sync",
    Identity: "identity",
    Account: "account",
    Info: "info",
    ErrorFrame: "error",
    Malformed: "malformed",
    Ignored: "ignored",
}
