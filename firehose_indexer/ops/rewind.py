"""Which seq a relay gave to a moment: found by asking it, since seqs do not tell the time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import NamedTuple

MAX_PROBES = 40
CLOSE_ENOUGH_SECONDS = 5.0


class Mark(NamedTuple):
    """The first event that a relay serves for some cursor."""

    seq: int
    time: datetime


Probe = Callable[[int], Awaitable[Mark]]
"""Connect with a cursor, read one event, leave."""


async def seq_at(moment: datetime, newest: Mark, probe: Probe) -> Mark:
    """A mark at or shortly before ``moment``, by interpolation between the relay's oldest event and ``newest``.

    The oldest event when the relay's window does not reach back that far. Errors of ``probe`` pass through.
    """
    low, high = await probe(0), newest
    ceiling = high.seq  # this cursor, and every one above it, is answered with an event after ``moment``
    if low.time >= moment:
        return low
    for attempt in range(MAX_PROBES):
        near = (moment - low.time).total_seconds() <= CLOSE_ENOUGH_SECONDS
        if near or ceiling - low.seq <= 1:
            break
        cursor = _between(low, high, ceiling, moment, halve=attempt % 2 == 1)
        found = await probe(cursor)
        if found.time > moment:
            ceiling = cursor
            high = min(high, found)
        elif found.seq <= low.seq:
            break  # the relay does not keep to its own order
        else:
            low = found
    return low


def _between(low: Mark, high: Mark, ceiling: int, moment: datetime, *, halve: bool) -> int:
    """Aim by time, but halve every other step so that a lopsided clock cannot keep us long."""
    span = (high.time - low.time).total_seconds()
    if halve or span <= 0:
        return (low.seq + ceiling) // 2
    aim = low.seq + int((high.seq - low.seq) * (moment - low.time).total_seconds() / span)
    return min(max(aim, low.seq + 1), ceiling - 1)
