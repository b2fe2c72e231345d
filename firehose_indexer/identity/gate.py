"""Who may ask the network now: few at a time, the most urgent first (spec/services (a), concurrency)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import IntEnum
from itertools import count
from typing import Final, NamedTuple

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
        self.waits: dict[asyncio.Future[bool], bool] = {}
        """Its places in the queues, and whether each leads to the directory."""


class _Waiting(NamedTuple):
    ticket: Ticket
    arrival: int


Queue = dict[asyncio.Future[bool], _Waiting]


class Gate:
    """``limit`` slots and a bounded queue before them.

    ``reserved`` of the slots are for live errands to the PLC directory only: hosts that strangers name may
    all hang at once, and must not keep from us the directory, which knows nearly everybody.
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
        self._queues: list[tuple[Queue, Queue]] = [({}, {}) for _ in Priority]
        """By priority; the second of each pair leads to the directory."""
        self._arrivals = count()
        self._hosts: dict[str, tuple[asyncio.Semaphore, int]] = {}

    @asynccontextmanager
    async def slot(
        self, ticket: Ticket, host: str | None = None, *, directory: bool = False
    ) -> AsyncIterator[None]:
        """Wait for a turn and hold it. Raises Full.

        ``host``: at most four at a time go there. ``directory``: the errand leads to the PLC directory.
        """
        if host is None:
            async with self._slot(ticket, directory=directory):
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
                async with self._slot(ticket, directory=directory):
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
        for future, directory in ticket.waits.items():
            del self._queues[ticket.priority][directory][future]
            self._queues[priority][directory][future] = _Waiting(ticket, next(self._arrivals))
        ticket.priority = priority
        self._wake()

    @asynccontextmanager
    async def _slot(self, ticket: Ticket, *, directory: bool) -> AsyncIterator[None]:
        common = await self._enter(ticket, directory)
        try:
            yield
        finally:
            self._leave(common)

    async def _enter(self, ticket: Ticket, directory: bool) -> bool:
        """Whether the slot taken is one of those open to all."""
        # Whoever waits may not go yet, or a leaving one had woken it: nobody is overtaken here.
        if self._may(ticket.priority, directory):
            return self._take(ticket.priority, directory)
        self._make_room(ticket.priority)
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._queues[ticket.priority][directory][future] = _Waiting(ticket, next(self._arrivals))
        ticket.waits[future] = directory
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
        for pair in reversed(self._queues[priority + 1 :]):
            lasts = [next(reversed(queue.items())) for queue in pair if queue]
            if lasts:
                future, last = max(lasts, key=lambda item: item[1].arrival)
                self._drop(last.ticket, future)
                if not future.done():
                    future.set_exception(Full())
                return
        raise Full

    def _drop(self, ticket: Ticket, future: asyncio.Future[bool]) -> None:
        del self._queues[ticket.priority][ticket.waits.pop(future)][future]
        self.waiting -= 1

    def _may(self, priority: Priority, directory: bool) -> bool:
        return self.busy < self._limit and (
            _reserved(priority, directory) or self._common < self._open_to_all
        )

    def _take(self, priority: Priority, directory: bool) -> bool:
        common = not _reserved(priority, directory)
        self.busy += 1
        self._common += common
        return common

    def _leave(self, common: bool) -> None:
        self.busy -= 1
        self._common -= common
        self._wake()

    def _wake(self) -> None:
        for priority, pair in zip(Priority, self._queues, strict=True):
            while heads := [
                (*next(iter(queue.items())), directory)
                for directory, queue in enumerate(pair)
                if queue and self._may(priority, bool(directory))
            ]:
                future, first, directory = min(heads, key=lambda head: head[1].arrival)
                self._drop(first.ticket, future)
                if not future.done():  # cancelled, and not yet told so
                    future.set_result(self._take(priority, bool(directory)))


def _reserved(priority: Priority, directory: bool) -> bool:
    """Whether an errand may take a slot that is not open to all."""
    return directory and priority == Priority.live
