"""Who may ask the network now: few at a time, the most urgent first (spec/services (a), concurrency)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import IntEnum
from typing import Final

WAITING: Final = 50_000
PER_HOST: Final = 4


class Priority(IntEnum):
    """Why somebody asks; the smaller goes first."""

    live = 0
    parked = 1
    refresh = 2
    hydration = 3
    revalidation = 4


class Full(Exception):
    """Too many are waiting, and all of them are more urgent."""


class Ticket:
    """The urgency of one errand, which may grow while it waits."""

    def __init__(self, priority: Priority) -> None:
        self.priority = priority
        self.begun_at: float | None = None
        """When its first request went out."""
        self.waits: set[asyncio.Future[bool]] = set()


class Gate:
    """``limit`` slots, ``reserved`` of them for live errands only, and a bounded queue before them.

    When ``bound`` are waiting the least urgent, the last to come first, is refused.
    """

    def __init__(self, limit: int, reserved: int, bound: int = WAITING, per_host: int = PER_HOST) -> None:
        self.busy = 0
        self.waiting = 0
        self._common = 0
        self._limit = limit
        self._open_to_all = max(1, limit - reserved)
        self._bound = bound
        self._per_host = per_host
        self._queues: list[dict[asyncio.Future[bool], Ticket]] = [{} for _ in Priority]
        self._hosts: dict[str, tuple[asyncio.Semaphore, int]] = {}

    @asynccontextmanager
    async def slot(self, ticket: Ticket, host: str | None = None) -> AsyncIterator[None]:
        """Wait for a turn and hold it. ``host``: at most four at a time go there. Raises Full."""
        if host is None:
            async with self._slot(ticket):
                yield
            return
        semaphore, users = self._hosts.get(host) or (asyncio.Semaphore(self._per_host), 0)
        if semaphore.locked() and self.waiting >= self._bound:
            raise Full
        self._hosts[host] = semaphore, users + 1
        try:
            self.waiting += 1
            try:
                await semaphore.acquire()
            finally:
                self.waiting -= 1
            try:
                async with self._slot(ticket):
                    yield
            finally:
                semaphore.release()
        finally:
            users = self._hosts[host][1] - 1
            self._hosts[host] = semaphore, users
            if not users:
                del self._hosts[host]

    def promote(self, ticket: Ticket, priority: Priority) -> None:
        """Let an errand that somebody more urgent has joined move up."""
        if priority >= ticket.priority:
            return
        for future in ticket.waits:
            del self._queues[ticket.priority][future]
            self._queues[priority][future] = ticket
        ticket.priority = priority
        self._wake()

    @asynccontextmanager
    async def _slot(self, ticket: Ticket) -> AsyncIterator[None]:
        common = await self._enter(ticket)
        try:
            yield
        finally:
            self._leave(common)

    async def _enter(self, ticket: Ticket) -> bool:
        """Whether the slot taken is one of those open to all."""
        if self._may(ticket.priority) and not any(self._queues[: ticket.priority + 1]):
            return self._take(ticket)
        self._make_room(ticket.priority)
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._queues[ticket.priority][future] = ticket
        ticket.waits.add(future)
        self.waiting += 1
        try:
            return await future
        except asyncio.CancelledError:
            if future in ticket.waits:
                self._drop(ticket, future)
            elif not future.cancelled() and future.exception() is None:
                self._leave(future.result())
            raise

    def _make_room(self, priority: Priority) -> None:
        if self.waiting < self._bound:
            return
        for queue in reversed(self._queues[priority + 1 :]):
            if queue:
                future, ticket = next(reversed(queue.items()))
                self._drop(ticket, future)
                if not future.done():
                    future.set_exception(Full())
                return
        raise Full

    def _drop(self, ticket: Ticket, future: asyncio.Future[bool]) -> None:
        del self._queues[ticket.priority][future]
        ticket.waits.discard(future)
        self.waiting -= 1

    def _may(self, priority: Priority) -> bool:
        return self.busy < self._limit and (priority == Priority.live or self._common < self._open_to_all)

    def _take(self, ticket: Ticket) -> bool:
        common = ticket.priority != Priority.live
        self.busy += 1
        self._common += common
        return common

    def _leave(self, common: bool) -> None:
        self.busy -= 1
        self._common -= common
        self._wake()

    def _wake(self) -> None:
        for priority, queue in zip(Priority, self._queues, strict=True):
            while queue and self._may(priority):
                future, ticket = next(iter(queue.items()))
                self._drop(ticket, future)
                if not future.done():  # cancelled, and not yet told so
                    future.set_result(self._take(ticket))
