"""The waits and the watches of a connection (spec/protocol §4). Pure: time and chance come from outside.

All times are seconds of one monotonic clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

HEALTHY_AFTER: Final = 60.0
LONGEST_BACKOFF: Final = 60.0
AFTER_CLEAN_CLOSE: Final = 2.0


class Backoff:
    """How long to wait before the next attempt. ``uniform(low, high)`` is the source of chance."""

    def __init__(self, uniform: Callable[[float, float], float]) -> None:
        self._uniform = uniform
        self.attempts = 0

    def after(self, *, lasted: float, delivered: bool, clean: bool) -> float:
        """The wait after a connection of ``lasted`` seconds, or a failed attempt (0, False, False).

        Only a connection that delivered data for a minute earns a fresh start.
        """
        if delivered and lasted >= HEALTHY_AFTER:
            self.attempts = 0
        first = self.attempts == 0
        wait = min(LONGEST_BACKOFF, float(2 ** min(self.attempts, 6)))
        self.attempts += 1
        if first and clean:
            return self._uniform(0.0, AFTER_CLEAN_CLOSE)
        return self._uniform(0.5, 1.0) * wait


class StallWatch:
    """Whether data stopped for longer than this source's own rhythm explains.

    A busy relay is caught in 30 seconds, a one-user PDS is left in peace for ten minutes.
    """

    SHORTEST: Final = 30.0
    LONGEST: Final = 600.0
    LEARN: Final = 100
    GAPS: Final = 50.0
    WEIGHT: Final = 0.02

    def __init__(self) -> None:
        self._frames = 0
        self._mean = 0.0
        self._last = 0.0
        self._stretch = 1.0
        self._stalls = 0

    @property
    def quiet(self) -> bool:
        """Two stalls running: the source is quiet rather than broken."""
        return self._stalls >= 2

    @property
    def limit(self) -> float:
        """Seconds without data that mean a stall."""
        if self._frames < self.LEARN:
            return self.LONGEST
        base = min(max(self.GAPS * self._mean, self.SHORTEST), self.LONGEST)
        return min(base * self._stretch, self.LONGEST)

    def began(self, now: float) -> None:
        """A connection was made, or we begin to read again after not reading: silence counts from here."""
        self._last = now

    def data(self, count: int, now: float) -> None:
        """``count`` frames came since the last call."""
        gap = (now - self._last) / count
        if self._frames == 0:
            self._mean = gap
        else:
            # ``count`` steps of an exponential mean towards the same gap.
            keep = (1.0 - self.WEIGHT) ** count
            self._mean = self._mean * keep + gap * (1.0 - keep)
        self._frames += count
        self._last = now
        self._stalls = 0
        self._stretch = 1.0

    def stalled(self, now: float) -> bool:
        """Whether the limit has passed. Answering yes widens the limit for the next connection."""
        if now - self._last < self.limit:
            return False
        self._stalls += 1
        if self._stalls >= 2:
            self._stretch *= 2.0
        return True


class TrickleWatch:
    """Whether the lag grows although we have nothing to do: then the relay's way to us is slow.

    Fed one sample per ``INTERVAL``; fires when five minutes of samples each lag more than the one before.
    """

    INTERVAL: Final = 30.0
    GROWTH_FOR: Final = 300.0
    REST: Final = 600.0
    IDLE: Final = 0.5

    def __init__(self) -> None:
        self._since = 0.0
        self._cpu = 0.0
        self._worked = 0.0
        self._lag: float | None = None
        self._growing_since: float | None = None
        self._fired: float | None = None

    def began(self, now: float, cpu: float) -> None:
        """A connection begins. ``cpu`` is the process's CPU time in seconds."""
        self._lag = None
        self._growing_since = None
        self._next(now, cpu)

    def worked(self, seconds: float) -> None:
        """We were not reading for so long: that lag is our own."""
        self._worked += seconds

    def due(self, now: float) -> bool:
        return now - self._since >= self.INTERVAL

    def sample(self, now: float, lag: float | None, *, cpu: float, backlog: int) -> bool:
        """``lag`` of the newest data since the last sample in seconds, None when none came.

        True when it is time for a new connection; then not again for ten minutes.
        """
        before, since = self._lag, self._since
        busy = max(cpu - self._cpu, self._worked) > self.IDLE * (now - since)
        self._lag = lag
        self._next(now, cpu)
        if lag is None or before is None or busy or backlog or lag <= before:
            self._growing_since = None
            return False
        if self._growing_since is None:
            self._growing_since = since
        rested = self._fired is None or now - self._fired >= self.REST
        if now - self._growing_since < self.GROWTH_FOR or not rested:
            return False
        self._fired = now
        return True

    def _next(self, now: float, cpu: float) -> None:
        self._since = now
        self._cpu = cpu
        self._worked = 0.0
