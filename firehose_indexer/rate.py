"""How many per second, over the last second, minute and quarter of an hour."""

from __future__ import annotations

import time
from collections.abc import Callable

_SECONDS = 900


class Rate:
    """A ring of one-second buckets. Memory is fixed; adding costs one clock reading."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets = [0] * (_SECONDS + 1)
        self._began = self._at = int(clock())

    def add(self, count: int) -> None:
        self._turn()
        self._buckets[self._at % len(self._buckets)] += count

    def per_second(self, seconds: int) -> float:
        """The mean over the last ``seconds`` whole seconds (1 … 900), or over what there is so far."""
        self._turn()
        span = min(seconds, _SECONDS, max(1, self._at - self._began))
        size = len(self._buckets)
        return sum(self._buckets[(self._at - back) % size] for back in range(1, span + 1)) / span

    def _turn(self) -> None:
        now = int(self._clock())
        for second in range(max(self._at + 1, now - _SECONDS), now + 1):
            self._buckets[second % len(self._buckets)] = 0
        self._at = max(self._at, now)
