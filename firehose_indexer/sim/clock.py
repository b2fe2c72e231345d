"""Time in the simulator: whole microseconds since the epoch, never the same value twice."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from firehose_indexer.repo.syntax import tid_from_int

Clock = Callable[[], int]
"""Gives microseconds since the epoch; every call gives more than the one before, by at least ``STEP``."""

STEP = 64
"""µs that belong to one act: room for its record keys and its rev."""

EPOCH_2026 = 1_767_225_600_000_000
SECOND = 1_000_000


def ticking(start: int = EPOCH_2026, tick: int = 1_000) -> Clock:
    """A clock that advances ``tick`` µs a call, whatever the wall says: the deterministic one."""
    if tick < STEP:
        raise ValueError(f"a tick is at least {STEP} µs")
    now = start

    def clock() -> int:
        nonlocal now
        now += tick
        return now

    return clock


def wall() -> Clock:
    """The computer's clock, for a demo whose events happen now."""
    last = 0

    def clock() -> int:
        nonlocal last
        last = max(last + STEP, time.time_ns() // 1_000)
        return last

    return clock


def text(microseconds: int) -> str:
    """The atproto datetime of a time, in milliseconds and UTC: ``2026-01-01T00:00:00.000Z``."""
    seconds, rest = divmod(microseconds, SECOND)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest // 1_000:03d}Z"


def tid(microseconds: int, clock_id: int) -> str:
    """The TID of a time; ``clock_id`` (0 to 1023) tells apart those who make one in the same µs."""
    return tid_from_int(microseconds << 10 | clock_id)
