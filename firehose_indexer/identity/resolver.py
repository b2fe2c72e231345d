"""The door of the room: who an account is, and whether its handle is its own (spec/services (a))."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Collection, Iterable, Mapping
from functools import partial
from typing import Final, NamedTuple

from firehose_indexer.identity.breaker import KINDS
from firehose_indexer.identity.cache import HANDLE_TTL, HandleState, Lru, Shelf, Terms
from firehose_indexer.identity.document import Identity
from firehose_indexer.identity.documents import PATIENCE, Documents, Prefetched
from firehose_indexer.identity.flights import Flights, landed
from firehose_indexer.identity.gate import Priority, Ticket
from firehose_indexer.identity.handle import Said, normal_handle, verdict
from firehose_indexer.identity.network import Network
from firehose_indexer.identity.outcome import (
    DidFailed,
    HandleNotFound,
    Postponed,
    ResolutionError,
)
from firehose_indexer.metrics import Metrics

REFRESH_SECONDS: Final = 60.0
"""An account's ``#identity`` events cause at most one refresh in this time."""
BEHIND: Final = 50_000
"""Refreshes behind the scenes at a time; further ones wait until somebody asks for the account."""


class ResolverStatus(NamedTuple):
    """For /status. ``cache``: looks into memory since the start, by what became of them."""

    identities: int
    handles: int
    in_flight: int
    waiting: int
    unshelved: int
    breakers_open: Mapping[str, int]
    cache: Mapping[str, int]


class Resolver:
    """DID → identity, handle → DID, and both together. ``start`` before use, ``stop`` after."""

    def __init__(
        self,
        network: Network,
        shelf: Shelf,
        metrics: Metrics,
        *,
        size: int = 100_000,
        terms: Terms | None = None,
    ) -> None:
        self._documents = Documents(network, shelf, metrics, size=size, terms=terms)
        self._network = network
        self._metrics = metrics
        self._clock = network.clock
        self._handles: Lru[tuple[str | None, float]] = Lru(size)
        self._lookups: Flights[str] = Flights(network.gate, self._look_up)
        self._refreshed: Lru[float] = Lru(size)
        self._behind: dict[str, asyncio.Task[None]] = {}
        self.known = self._documents.known
        """``known(did)``: what memory holds and may be believed, at once; the hot path's."""
        metrics.watch_identities(
            memory=lambda: len(self._documents),
            handles=lambda: len(self._handles),
            waiting=lambda: network.gate.waiting,
            breakers={kind: partial(network.breakers.open.__getitem__, kind) for kind in KINDS},
        )

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """``tasks`` owns the errands from now on."""
        self._tasks = tasks
        self._documents.start(tasks)

    async def stop(self) -> None:
        """End what is under way; a few seconds for what must be written."""
        for task in self._behind.values():
            task.cancel()
        self._lookups.cancel()
        await self._documents.stop()

    async def identity(
        self,
        did: str,
        *,
        fresh: bool = False,
        wait: float | None = None,
        priority: Priority = Priority.hydration,
    ) -> Identity:
        """See ``Documents.identity``."""
        return await self._documents.identity(did, fresh=fresh, wait=wait, priority=priority)

    async def prefetch(
        self, dids: Collection[str], *, wait: float = PATIENCE, priority: Priority = Priority.live
    ) -> Prefetched:
        """See ``Documents.prefetch``."""
        return await self._documents.prefetch(dids, wait=wait, priority=priority)

    def seed(self, identities: Iterable[Identity]) -> int:
        """See ``Documents.seed``."""
        return self._documents.seed(identities)

    async def handle(
        self,
        handle: str,
        *,
        fresh: bool = False,
        wait: float | None = None,
        priority: Priority = Priority.hydration,
    ) -> str:
        """The DID that a handle leads to; says nothing about the way back.

        Raises HandleNotFound (also for two answers), DidFailed.
        """
        handle = normal_handle(handle, local=self._network.local)
        known = self._handles.get(handle)
        if known is not None and known[1] > self._clock() and not fresh:
            if known[0] is None:
                raise HandleNotFound("known to lead nowhere")
            return known[0]
        flight, _ = self._lookups.join(self._tasks, handle, priority, since=math.inf if fresh else -math.inf)
        try:
            return await landed(flight, PATIENCE if wait is None else wait)
        except TimeoutError:
            raise Postponed(self._clock() + 1, "no answer yet") from None

    async def verify_handle(
        self,
        did: str,
        *,
        fresh: bool = False,
        wait: float | None = None,
        priority: Priority = Priority.hydration,
    ) -> HandleState:
        """Whether the handle that ``did`` claims leads back to it. What is found out goes to the shelf.

        Never raises for a DID: who cannot be asked is ``unknown``.
        """
        try:
            identity = await self.identity(did, fresh=fresh, wait=wait, priority=priority)
        except DidFailed:
            return HandleState.unknown
        except ResolutionError:
            return HandleState.invalid
        finding = self._documents.finding(did)
        if finding is not None and finding.handle_current(self._clock()) and not fresh:
            return finding.handle_state
        state = await self._check(identity, fresh, wait, priority)
        self._metrics.handle_checked(state)
        finding = self._documents.finding(did)  # it may have changed meanwhile
        if (
            finding is not None
            and finding.identity is not None
            and finding.identity.handle == identity.handle
        ):
            self._documents.update(finding._replace(handle_state=state, handle_checked_at=self._clock()))
        return state

    def invalidate(self, did: str) -> None:
        """An ``#identity`` event, or an operator: forget document, key and handle, and ask anew before long."""
        finding, now = self._documents.finding(did), self._clock()
        if finding is not None and finding.identity is not None and finding.identity.handle is not None:
            self._handles.drop(finding.identity.handle)
        self._documents.invalidate(did)
        last = self._refreshed.peek(did)
        if did in self._behind or len(self._behind) >= BEHIND:
            return
        if last is None or now - last >= REFRESH_SECONDS:
            self._refreshed.put(did, now)
            self._behind[did] = self._tasks.create_task(self._refresh(did), name=f"refresh {did[:40]}")

    def snapshot(self) -> ResolverStatus:
        gate = self._network.gate
        return ResolverStatus(
            identities=len(self._documents),
            handles=len(self._handles),
            in_flight=gate.busy,
            waiting=gate.waiting,
            unshelved=len(self._documents.shelving),
            breakers_open=dict(+self._network.breakers.open),
            cache=dict(self._documents.counts),
        )

    async def _refresh(self, did: str) -> None:
        try:
            await self.verify_handle(did, fresh=True, priority=Priority.refresh)
        finally:
            del self._behind[did]

    async def _check(
        self, identity: Identity, fresh: bool, wait: float | None, priority: Priority
    ) -> HandleState:
        if identity.handle is None:
            return HandleState.invalid
        said: Said
        try:
            said = await self.handle(identity.handle, fresh=fresh, wait=wait, priority=priority)
        except ResolutionError as error:
            said = error
        return verdict(identity.did, said)

    async def _look_up(self, handle: str, ticket: Ticket) -> str:
        """The errand of a flight: ask the network, and remember what it said."""
        try:
            did = await self._network.handle(handle, ticket)
        except HandleNotFound:
            self._remember(handle, None, HandleState.invalid)
            raise
        self._remember(handle, did, HandleState.valid)
        return did

    def _remember(self, handle: str, did: str | None, state: HandleState) -> None:
        before = self._handles.peek(handle)
        self._handles.put(handle, (did, self._clock() + HANDLE_TTL[state]))
        if before is not None and before[0] is not None and before[0] != did:
            # The handle has a new holder: the old one's claim is checked again when it matters.
            loser = self._documents.finding(before[0])
            if loser is not None:
                self._documents.update(loser._replace(handle_checked_at=None))
