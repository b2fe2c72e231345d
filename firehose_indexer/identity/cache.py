"""What was found out, and for how long it may be believed (spec/protocol §9, cache table). Pure.

All times are seconds since 1970.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Sequence
from enum import StrEnum
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

from firehose_indexer.identity.document import Identity
from firehose_indexer.identity.outcome import Outcome

V = TypeVar("V")

HOUR: Final = 3600.0
LONGEST_NEGATIVE: Final = 24 * HOUR
FAILED: Final = 30.0
LONGEST_FAILED: Final = 900.0
STALE: Final = 7 * 24 * HOUR
"""How long a document that cannot be renewed is still served, marked stale."""


class HandleState(StrEnum):
    """Whether a claimed handle leads both ways."""

    unknown = "unknown"
    valid = "valid"
    invalid = "invalid"


HANDLE_TTL: Final = {
    HandleState.valid: 24 * HOUR,
    HandleState.invalid: HOUR,
    HandleState.unknown: 300.0,
}


class Finding(NamedTuple):
    """What is known of one DID. ``fetched_at``: when the request went out that brought the document, or the no.

    ``misses``: how often in a row it was not ok. ``generation``: how often the network said that it changed.
    An ``identity`` beside an outcome ``failed`` is a stale one.
    """

    did: str
    outcome: Outcome
    identity: Identity | None
    fetched_at: float
    soft_at: float
    expires_at: float
    misses: int = 0
    generation: int = 0
    handle_state: HandleState = HandleState.unknown
    handle_checked_at: float | None = None

    def expired(self) -> Finding:
        """The same, document and handle to be asked for again before anyone believes them."""
        return self._replace(soft_at=0.0, expires_at=0.0, handle_checked_at=None)

    def handle_current(self, now: float) -> bool:
        """Whether the handle's state need not be asked for again."""
        checked = self.handle_checked_at
        return checked is not None and now < checked + HANDLE_TTL[self.handle_state]


class Terms(NamedTuple):
    """How long answers live."""

    ttl: float = 24 * HOUR
    negative: float = HOUR

    def found(self, identity: Identity, asked_at: float, before: Finding | None) -> Finding:
        fresh = Finding(
            identity.did, Outcome.ok, identity, asked_at, asked_at + self.ttl / 2, asked_at + self.ttl
        )
        if before is None:
            return fresh
        fresh = fresh._replace(generation=before.generation)
        if before.identity is None or before.identity.handle != identity.handle:
            return fresh
        return fresh._replace(handle_state=before.handle_state, handle_checked_at=before.handle_checked_at)

    def answered_no(self, did: str, outcome: Outcome, asked_at: float, before: Finding | None) -> Finding:
        """Not found, or a bad document: with it goes the handle."""
        misses = before.misses if before is not None and before.outcome is outcome else 0
        until = asked_at + min(max(LONGEST_NEGATIVE, self.negative), self.negative * 2.0 ** min(misses, 30))
        generation = before.generation if before is not None else 0
        return Finding(
            did, outcome, None, asked_at, until, until, misses + 1, generation, HandleState.invalid, asked_at
        )

    def failed(self, did: str, now: float, before: Finding | None, retry_at: float) -> Finding:
        """No answer: nobody asks before ``soft_at``, and until then what was known is served if it is young enough,
        marked stale once it has expired.
        """
        if before is None:
            before = Finding(did, Outcome.failed, None, 0.0, 0.0, 0.0)
        misses = before.misses if before.outcome in {Outcome.ok, Outcome.failed} else 0
        until = max(retry_at, now + min(LONGEST_FAILED, FAILED * 2.0 ** min(misses, 30)))
        if before.outcome is Outcome.ok and before.expires_at > now:
            return before._replace(soft_at=until, misses=misses + 1)
        identity = before.identity
        if identity is not None:
            identity = identity._replace(stale=True) if now - before.fetched_at <= STALE else None
        return before._replace(
            outcome=Outcome.failed, identity=identity, soft_at=until, expires_at=until, misses=misses + 1
        )


class Shelf(Protocol):
    """What survives a restart: the second layer, in the database. Both calls wait for it as long as it takes."""

    async def load(self, dids: Collection[str]) -> Sequence[Finding]:
        """What is known of any of ``dids``, expired or not."""
        ...

    async def save(self, findings: Sequence[Finding]) -> None:
        """Keep findings, at most one of each DID, none of them ``failed``; an older one replaces nothing."""
        ...


class NoShelf:
    """A ``Shelf`` that holds nothing: for a process that asks once and ends."""

    async def load(self, _dids: Collection[str]) -> Sequence[Finding]:
        return ()

    async def save(self, _findings: Sequence[Finding]) -> None:
        """Nothing survives."""


class Lru(Generic[V]):
    """At most ``size`` entries, those used last."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: OrderedDict[str, V] = OrderedDict()
        self.peek = self._entries.get
        """Look without using: one dict access."""

    def get(self, key: str) -> V | None:
        value = self._entries.get(key)
        if value is not None:
            self._entries.move_to_end(key)
        return value

    def put(self, key: str, value: V) -> None:
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > self._size:
            self._entries.popitem(last=False)

    def drop(self, key: str) -> None:
        self._entries.pop(key, None)

    def __len__(self) -> int:
        return len(self._entries)
