"""DID → identity: from memory, else from the shelf, else from the network (spec/services (a), layers)."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from firehose_indexer.identity.cache import Finding, Lru, Shelf, Terms
from firehose_indexer.identity.document import Identity
from firehose_indexer.identity.flights import Flight, Flights, landed
from firehose_indexer.identity.gate import Priority, Ticket
from firehose_indexer.identity.network import Network
from firehose_indexer.identity.outcome import (
    DidDocument,
    DidFailed,
    DidNotFound,
    Outcome,
    Postponed,
    ResolutionError,
)
from firehose_indexer.identity.shelving import Shelving
from firehose_indexer.metrics import Metrics

PATIENCE: Final = 30.0
"""Seconds a caller waits who did not say: a resolution and its place in the queue."""


class Prefetched(NamedTuple):
    """Those of a batch that ``known`` does not know. ``failed``: when to try again; ``refused``: the answer."""

    failed: Mapping[str, float]
    refused: Mapping[str, Outcome]


class Documents:
    """DID → identity through all layers. ``start`` before use, ``stop`` after.

    ``size``: identities in memory, which must exceed the accounts of one batch. About 1 KB each.
    """

    def __init__(
        self,
        network: Network,
        shelf: Shelf,
        metrics: Metrics,
        *,
        size: int = 100_000,
        terms: Terms | None = None,
    ) -> None:
        self.network = network
        self.shelving = Shelving(shelf)
        self.counts: Counter[str] = Counter()
        """Looks into memory by what became of them."""
        self._metrics = metrics
        self._terms = terms or Terms()
        self._clock = network.clock
        self._found: Lru[Finding] = Lru(size)
        self._peek = self._found.peek
        self._changed: Lru[float] = Lru(size)
        self._flights: Flights[Identity] = Flights(network.gate, self._resolve)
        self._loading: dict[str, asyncio.Future[None]] = {}
        self._tasks: asyncio.TaskGroup | None = None

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """``tasks`` owns the errands from now on."""
        self._tasks = tasks
        self._keeping = tasks.create_task(self.shelving.run(), name="identity shelf")

    async def stop(self) -> None:
        self._flights.cancel()
        await self.shelving.finish()
        self._keeping.cancel()

    def known(self, did: str) -> Identity | None:
        """What ``prefetch`` made known and may still be believed; no waiting, no counting."""
        finding = self._peek(did)
        if finding is None or finding.expires_at <= self._clock():
            return None
        return finding.identity

    def finding(self, did: str) -> Finding | None:
        """All that memory holds about ``did``, expired or not."""
        return self._peek(did)

    async def identity(
        self,
        did: str,
        *,
        fresh: bool = False,
        wait: float | None = None,
        priority: Priority = Priority.hydration,
    ) -> Identity:
        """Who ``did`` is; ``fresh``: as of a request sent after this call, and then never stale.

        ``wait``: seconds of patience. Raises DidSyntax, DidMethod, DidNotFound, DidDocument, DidFailed;
        Postponed (a DidFailed) when the queue is full, a breaker open, or the patience over.
        """
        self.network.place(did)
        if not fresh:
            if (finding := self._look(did)) is None:
                await self._load([did])
                finding = self._current(did)
            if finding is not None:
                return _told(finding)
        flight = self._join(did, priority, since=math.inf if fresh else -math.inf)
        try:
            return await landed(flight, PATIENCE if wait is None else wait)
        except TimeoutError:
            raise Postponed(self._clock() + 1, "no answer yet") from None
        except DidFailed:
            stale = None if fresh else self._current(did)
            if stale is None or stale.identity is None:
                raise
            return stale.identity

    async def prefetch(
        self, dids: Collection[str], *, wait: float = PATIENCE, priority: Priority = Priority.live
    ) -> Prefetched:
        """Make the accounts of a batch known: memory, one statement to the shelf, then the network.

        Returns within ``wait`` seconds beyond the statement; never raises for a DID.
        """
        failed: dict[str, float] = {}
        refused: dict[str, Outcome] = {}
        wanted = [did for did in dict.fromkeys(dids) if self._placed(did, refused)]
        missing = [did for did in wanted if self._look(did) is None]
        await self._load([did for did in missing if self._peek(did) is None])
        flights = {did: self._join(did, priority) for did in missing if self._current(did) is None}
        if flights:
            await asyncio.wait([flight.done for flight in flights.values()], timeout=wait)
        now = self._clock()
        for did in wanted:
            finding = self._current(did)
            if finding is not None and finding.identity is not None:
                continue
            if finding is not None and finding.outcome is not Outcome.failed:
                refused[did] = finding.outcome
                continue
            flight = flights.get(did)
            result = flight.done.result() if flight is not None and flight.done.done() else None
            if isinstance(result, DidFailed):
                failed[did] = result.retry_at
            else:
                failed[did] = finding.expires_at if finding is not None else now + 1
        return Prefetched(failed, refused)

    def invalidate(self, did: str) -> None:
        """The network says that ``did`` has changed: nothing from before now is believed, or kept."""
        now = self._clock()
        self._changed.put(did, now)
        finding = self._peek(did)
        if finding is not None:
            self._keep(finding._replace(generation=finding.generation + 1).expired())

    def seed(self, identities: Iterable[Identity]) -> int:
        """Put into memory what is known from elsewhere, as if fetched just now; how many."""
        now, count = self._clock(), 0
        for identity in identities:
            self._found.put(identity.did, self._terms.found(identity, now, None))
            count += 1
        return count

    def update(self, finding: Finding) -> None:
        """Replace what is known of a DID, here and on the shelf."""
        self._keep(finding)

    def __len__(self) -> int:
        return len(self._found)

    def _placed(self, did: str, refused: dict[str, Outcome]) -> bool:
        try:
            self.network.place(did)
        except ResolutionError as error:
            refused[did] = error.outcome
            return False
        return True

    def _current(self, did: str) -> Finding | None:
        finding = self._peek(did)
        return finding if finding is not None and finding.expires_at > self._clock() else None

    def _look(self, did: str) -> Finding | None:
        """Into memory, counted. What grows old there is renewed behind the caller's back."""
        finding, now = self._found.get(did), self._clock()
        if finding is None or finding.expires_at <= now:
            self._count("memory", "miss")
            return None
        if finding.identity is None:
            self._count("memory", "negative")
        elif finding.identity.stale or finding.soft_at <= now:
            self._count("memory", "stale")
            if finding.outcome is Outcome.ok:
                self._join(did, Priority.revalidation)
        else:
            self._count("memory", "hit")
        return finding

    async def _load(self, dids: list[str]) -> None:
        """From the shelf into memory; what another is loading already is only waited for."""
        others = {self._loading[did] for did in dids if did in self._loading}
        mine = [did for did in dids if did not in self._loading]
        if mine:
            done = asyncio.get_running_loop().create_future()
            self._loading.update(dict.fromkeys(mine, done))
            try:
                self._adopt(mine, await self.shelving.shelf.load(mine))
            finally:
                for did in mine:
                    del self._loading[did]
                done.set_result(None)
        if others:
            await asyncio.wait(others)

    def _adopt(self, asked: list[str], findings: Sequence[Finding]) -> None:
        now, current = self._clock(), 0
        for finding in findings:
            if self._peek(finding.did) is None:  # else something newer came meanwhile
                self._found.put(finding.did, self._believable(finding))
                current += finding.expires_at > now
        self._count("shelf", "hit", current)
        self._count("shelf", "miss", len(asked) - current)

    def _join(self, did: str, priority: Priority, *, since: float = -math.inf) -> Flight[Identity]:
        assert self._tasks is not None, "start comes first"
        changed = self._changed.peek(did)
        since = max(since, -math.inf if changed is None else changed)
        flight, coalesced = self._flights.join(self._tasks, did, priority, since=since)
        if coalesced:
            self._count("memory", "coalesced")
        return flight

    async def _resolve(self, did: str, ticket: Ticket) -> Identity:
        """The errand of a flight: ask the network, and remember what it said."""
        terms = self._terms
        try:
            identity = await self.network.document(did, ticket)
        except (DidNotFound, DidDocument) as error:
            asked_at = self._clock() if ticket.begun_at is None else ticket.begun_at
            self._keep(terms.answered_no(did, error.outcome, asked_at, self._peek(did)))
            raise
        except DidFailed as error:
            before = self._peek(did)
            failed = terms.failed(did, self._clock(), before, error.retry_at)
            if not isinstance(error, Postponed):
                self._found.put(did, failed)
                raise DidFailed(failed.soft_at, error.detail) from error
            if failed.identity is not None and failed.outcome is Outcome.failed and before is not None:
                # Not the account's fault: what is known of it serves until somebody may ask again.
                until = error.retry_at
                self._found.put(did, failed._replace(misses=before.misses, soft_at=until, expires_at=until))
            raise
        assert ticket.begun_at is not None
        self._keep(terms.found(identity, ticket.begun_at, self._peek(did)))
        return identity

    def _keep(self, finding: Finding) -> None:
        finding = self._believable(finding)
        self._found.put(finding.did, finding)
        self.shelving.put(finding)

    def _believable(self, finding: Finding) -> Finding:
        """What was asked before the network said that it changed is expired at birth."""
        changed = self._changed.peek(finding.did)
        return finding if changed is None or finding.fetched_at >= changed else finding.expired()

    def _count(self, layer: str, result: str, count: int = 1) -> None:
        if layer == "memory":
            self.counts[result] += count
        self._metrics.identity_cache(layer, result, count)


def _told(finding: Finding) -> Identity:
    if finding.identity is not None:
        return finding.identity
    if finding.outcome is Outcome.not_found:
        raise DidNotFound("known not to exist")
    if finding.outcome is Outcome.bad_document:
        raise DidDocument("known to be bad")
    raise DidFailed(finding.expires_at, "failed a moment ago")
