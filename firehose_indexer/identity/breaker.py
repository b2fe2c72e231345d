"""A host that fails is left alone for a while; then one request finds out (spec/services (a), circuit breaker)."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Literal

from firehose_indexer.identity.outcome import Postponed, ResolutionError, Unanswered

State = Literal["closed", "open", "half_open"]
Kind = Literal["plc", "web", "handle", "dns"]

KINDS: Final[tuple[Kind, ...]] = ("plc", "web", "handle", "dns")
LONGEST_SECONDS: Final = 600.0
HOSTS: Final = 10_000
"""Breakers that are remembered, the ones used last."""


class Breaker:
    """One host's. ``told`` hears every change of state."""

    def __init__(
        self, failures: int, seconds: float, clock: Callable[[], float], told: Callable[[State, State], None]
    ) -> None:
        self.state: State = "closed"
        self.retry_at = 0.0
        self.failures = 0
        self._most = failures
        self._base = self._seconds = seconds
        self._clock = clock
        self._told = told
        self._probing = False

    def check(self) -> None:
        """Raises Postponed while nobody should ask."""
        if self.state == "closed":
            return
        now = self._clock()
        if now < self.retry_at or self._probing:
            raise Postponed(max(self.retry_at, now + 1), "the host's breaker is open")

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Around one request: Unanswered is a failure, any answer is a success. Raises as ``check``."""
        self.check()
        probe = self.state != "closed"
        if probe:
            self._probing = True
            self._turn("half_open")
        try:
            yield
        except Unanswered as error:
            if error.counts:
                self._bad(probe=probe)
            raise
        except ResolutionError:
            self._good(probe=probe)
            raise
        else:
            self._good(probe=probe)
        finally:
            if probe:
                self._probing = False

    def _good(self, *, probe: bool) -> None:
        # An answer to a request from before the breaker opened says nothing about now.
        if self.state == "closed" or probe:
            self.failures = 0
            self._seconds = self._base
            self._turn("closed")

    def _bad(self, *, probe: bool) -> None:
        self.failures += 1
        if probe:
            self._seconds = min(LONGEST_SECONDS, self._seconds * 2)
        if probe or (self.state == "closed" and self.failures >= self._most):
            self.retry_at = self._clock() + self._seconds
            self._turn("open")

    def _turn(self, state: State) -> None:
        if state != self.state:
            before, self.state = self.state, state
            self._told(before, state)


class Breakers:
    """One breaker for each host, made when first needed; the least used are forgotten."""

    def __init__(
        self,
        failures: int,
        seconds: float,
        *,
        clock: Callable[[], float],
        told: Callable[[str, str], None],
    ) -> None:
        self.open: Counter[str] = Counter()
        """By kind: how many are not closed."""
        self._failures = failures
        self._seconds = seconds
        self._clock = clock
        self._told = told
        self._hosts: OrderedDict[tuple[Kind, str], Breaker] = OrderedDict()

    def of(self, kind: Kind, host: str) -> Breaker:
        breaker = self._hosts.get((kind, host))
        if breaker is None:
            breaker = Breaker(
                self._failures, self._seconds, self._clock, lambda old, new: self._turned(kind, old, new)
            )
            self._hosts[kind, host] = breaker
            if len(self._hosts) > HOSTS:
                (gone, _), forgotten = self._hosts.popitem(last=False)
                self.open[gone] -= forgotten.state != "closed"
        else:
            self._hosts.move_to_end((kind, host))
        return breaker

    def _turned(self, kind: Kind, old: State, new: State) -> None:
        self.open[kind] += (new != "closed") - (old != "closed")
        self._told(kind, new)
