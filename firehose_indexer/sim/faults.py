"""What can go wrong between a relay and its client, planned by seq and counted when it happens.

    faults = Faults()
    faults.plan(seq=40, fault=drop())
    faults.plan(seq=90, fault=poison("truncated"), times=2)
    relay = Relay(faults=faults)
    ...
    assert faults.pending == 0

A fault happens at the first event at or after its seq that suits it, to whichever client is sent that event.
``times`` > 1: again when the *same* event is sent again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from random import Random
from typing import NamedTuple

import libipld

from firehose_indexer.sim import forgery, wire
from firehose_indexer.sim.wire import Emitted


class Send(NamedTuple):
    """One message: bytes are binary, str is text."""

    message: bytes | str


class Cut(NamedTuple):
    """The connection is gone, without a close frame."""


class Close(NamedTuple):
    code: int


class Stall(NamedTuple):
    """No data for so many seconds; pings are answered."""

    seconds: float


class Trickle(NamedTuple):
    """From now on that many events come no faster than one in ``seconds``."""

    events: int
    seconds: float


class Rewind(NamedTuple):
    """Go on with the first event after ``seq``, on the same connection."""

    seq: int


Step = Send | Cut | Close | Stall | Trickle | Rewind


class Fault(NamedTuple):
    """``steps`` gives what happens instead of sending the event, or None if it does not suit this one."""

    name: str
    steps: Callable[[Emitted], list[Step] | None]


def drop() -> Fault:
    return Fault("drop", lambda _: [Cut()])


def close(code: int = 1001) -> Fault:
    return Fault("close", lambda _: [Close(code)])


def duplicate() -> Fault:
    return Fault("duplicate", lambda event: [Send(event.frame), Send(event.frame)])


def replay(events: int) -> Fault:
    """After the event, go back over the last so many."""
    return Fault("replay", lambda event: [Send(event.frame), Rewind(max(0, event.seq - events))])


def backwards(by: int = 1) -> Fault:
    """The event comes under a seq that is not above the last one."""
    return Fault("backwards", lambda event: [Send(wire.restamp(event.frame, max(1, event.seq - by)))])


def stall(seconds: float) -> Fault:
    return Fault("stall", lambda event: [Stall(seconds), Send(event.frame)])


def trickle(events: int, seconds: float) -> Fault:
    return Fault("trickle", lambda event: [Trickle(events, seconds), Send(event.frame)])


def error(name: str, message: str = "") -> Fault:
    """An error frame, then the end of the connection."""
    return Fault(f"error {name}", lambda _: [Send(wire.error(name, message)), Close(1008)])


def text() -> Fault:
    return Fault("text", lambda _: [Send("this is not a frame")])


def oversize(size: int = 5_242_881) -> Fault:
    """A well-formed message of ``size`` bytes or a little more, of a type nobody knows."""
    frame = wire.encode("#padding", {"padding": bytes(size)})
    return Fault("oversize", lambda _: [Send(frame)])


def poison(case: str) -> Fault:
    """Bytes that break the framing rules of spec/protocol §1 in place of the event: one of ``POISON``."""
    spoil = POISON[case]
    return Fault(f"poison {case}", lambda event: [Send(spoil(event))])


def forged(case: str) -> Fault:
    """A commit that reads well and proves wrong, in place of the next commit it can be made of.

    ``case`` is one of ``forgery.FORGERIES``.
    """
    forge = forgery.FORGERIES[case]

    def steps(event: Emitted) -> list[Step] | None:
        frame = forge(event.frame)
        return None if frame is None else [Send(frame)]

    return Fault(f"forged {case}", steps)


def _parts(event: Emitted) -> tuple[bytes, bytes]:
    """Header and payload of a sound frame."""
    kind, _ = wire.decode(event.frame)
    header = libipld.encode_dag_cbor({"t": kind, "op": 1})
    return header, event.frame[len(header) :]


def _with_header(event: Emitted, header: object) -> bytes:
    return libipld.encode_dag_cbor(header) + _parts(event)[1]


def _with_payload(event: Emitted, payload: object) -> bytes:
    return _parts(event)[0] + libipld.encode_dag_cbor(payload)


def _with_seq(event: Emitted, seq: object) -> bytes:
    kind, body = wire.decode(event.frame)
    return wire.encode(kind, {**body, "seq": seq})


POISON: dict[str, Callable[[Emitted], bytes]] = {
    "empty": lambda _: b"",
    "not cbor": lambda _: b"\xff\xfe\xfd",
    "header is a list": lambda event: _with_header(event, [1]),
    "header without op": lambda event: _with_header(event, {"t": "#commit"}),
    "header op is text": lambda event: _with_header(event, {"t": "#commit", "op": "1"}),
    "header without t": lambda event: _with_header(event, {"op": 1}),
    "header t is a number": lambda event: _with_header(event, {"t": 7, "op": 1}),
    "no payload": lambda event: _parts(event)[0],
    "truncated": lambda event: event.frame[: len(event.frame) * 3 // 4],
    "payload is a list": lambda event: _with_payload(event, []),
    "payload with a float": lambda event: _with_payload(event, {"seq": event.seq, "ratio": 0.5}),
    "payload of indefinite length": lambda event: _parts(event)[0] + b"\xbf\x63seq\x01\xff",
    "trailing bytes": lambda event: event.frame + b"\x00",
    "seq is text": lambda event: _with_seq(event, str(event.seq)),
    "seq is zero": lambda event: _with_seq(event, 0),
    "seq is too big": lambda event: _with_seq(event, 2**53),
}
"""Framing faults that cannot be read past: each makes the message of an event unreadable in its own way."""


@dataclass
class _Planned:
    seq: int
    fault: Fault
    times: int
    bound: int | None = None
    """The seq of the event at which it first happened."""

    def steps(self, event: Emitted) -> list[Step] | None:
        if event.seq < self.seq or (self.bound is not None and self.bound != event.seq):
            return None
        steps = self.fault.steps(event)
        if steps is not None:
            self.bound = event.seq
            self.times -= 1
        return steps


class Faults:
    """The plan of one relay. ``fired`` counts by the fault's name."""

    def __init__(self) -> None:
        self.fired: Counter[str] = Counter()
        self._planned: list[_Planned] = []
        self._recurring: list[tuple[float, Fault]] = []
        self._rng = Random("faults")

    def plan(self, seq: int, fault: Fault, times: int = 1) -> None:
        self._planned.append(_Planned(seq, fault, times))

    def recur(self, fault: Fault, events: float) -> None:
        """Let a fault happen about once in so many events, for ever."""
        self._recurring.append((1 / events, fault))

    @property
    def pending(self) -> int:
        """How many planned happenings are still to come."""
        return sum(planned.times for planned in self._planned)

    def steps(self, event: Emitted) -> list[Step]:
        """What the relay does when it is this event's turn; one fault at most."""
        for planned in self._planned:
            steps = planned.steps(event)
            if steps is not None:
                self.fired[planned.fault.name] += 1
                self._planned = [other for other in self._planned if other.times]
                return steps
        for share, fault in self._recurring:
            if self._rng.random() < share and (steps := fault.steps(event)) is not None:
                self.fired[fault.name] += 1
                return steps
        return [Send(event.frame)]


class Shuffled:
    """Events in another order across repositories, never within one; seqs stay those of the positions.

    ``moved`` counts the events that overtook another.
    """

    def __init__(self, events: Iterable[Emitted], seed: int, window: int = 16) -> None:
        self.moved = 0
        self._events = iter(events)
        self._rng = Random(f"shuffled {seed}")
        self._window = window

    def __iter__(self) -> Iterator[Emitted]:
        waiting: list[Emitted] = []
        seqs: list[int] = []
        for event in chain(self._events, [None] * self._window):
            if event is not None:
                waiting.append(event)
                seqs.append(event.seq)
                if len(waiting) < self._window:
                    continue
            if waiting:
                chosen, seq = self._next(waiting), seqs.pop(0)
                yield Emitted(seq, chosen.did, wire.restamp(chosen.frame, seq))

    def _next(self, waiting: list[Emitted]) -> Emitted:
        index = self._rng.randrange(len(waiting))
        first = next(i for i, event in enumerate(waiting) if event.did == waiting[index].did)
        self.moved += first > 0
        return waiting.pop(first)
