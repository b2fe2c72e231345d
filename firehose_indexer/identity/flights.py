"""Single-flight: one errand for all who ask the same at the same time (spec/services (a))."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from firehose_indexer.identity.gate import Gate, Priority, Ticket
from firehose_indexer.identity.outcome import ResolutionError

V = TypeVar("V")


class Flight(Generic[V]):
    """One errand. Its result is a value or a ResolutionError, never raised here."""

    def __init__(self, priority: Priority, after: Flight[V] | None) -> None:
        self.ticket = Ticket(priority)
        self.done: asyncio.Future[V | ResolutionError] = asyncio.get_running_loop().create_future()
        self.after = after

    def serves(self, since: float) -> bool:
        """Whether its answer is as of ``since`` or later."""
        return self.ticket.begun_at is None or self.ticket.begun_at >= since


class Flights(Generic[V]):
    """At most one errand per key whose first request has gone out, and one that waits for its turn."""

    def __init__(self, gate: Gate, work: Callable[[str, Ticket], Awaitable[V]]) -> None:
        self._gate = gate
        self._work = work
        self._flights: dict[str, Flight[V]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def join(
        self, tasks: asyncio.TaskGroup, key: str, priority: Priority, *, since: float = -math.inf
    ) -> tuple[Flight[V], bool]:
        """The flight for ``key``, and whether it was on its way already.

        Not one whose first request went out before ``since``: ours then starts when that has landed.
        """
        flight = self._flights.get(key)
        if flight is not None and flight.serves(since):
            self._gate.promote(flight.ticket, priority)
            return flight, True
        flight = self._flights[key] = Flight(priority, after=flight)
        task = tasks.create_task(self._fly(key, flight), name=f"resolve {key[:40]}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return flight, False

    def cancel(self) -> None:
        """End every errand; those who wait for one are cancelled with it."""
        for task in self._tasks:
            task.cancel()

    async def _fly(self, key: str, flight: Flight[V]) -> None:
        try:
            if flight.after is not None:
                await asyncio.wait((flight.after.done,))
                flight.after = None
            flight.done.set_result(await self._work(key, flight.ticket))
        except ResolutionError as error:
            flight.done.set_result(error)
        finally:
            flight.done.cancel()  # nothing, unless the errand was ended
            if self._flights.get(key) is flight:
                del self._flights[key]

    def __len__(self) -> int:
        return len(self._flights)


async def landed(flight: Flight[V], seconds: float) -> V:
    """The result of a flight, which goes on without us if we leave.

    Raises the flight's ResolutionError, or TimeoutError after ``seconds``.
    """
    async with asyncio.timeout(seconds):
        result = await asyncio.shield(flight.done)
    if isinstance(result, ResolutionError):
        raise result.with_traceback(None)
    return result
