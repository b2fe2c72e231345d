"""Who a DID or a handle is, and which step of finding that out said what (style C.3)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from firehose_indexer.config import Settings
from firehose_indexer.door import Resolving, resolving
from firehose_indexer.identity.cache import HandleState, NoShelf
from firehose_indexer.identity.document import Identity
from firehose_indexer.identity.gate import Priority, Ticket
from firehose_indexer.identity.handle import Said, normal_handle, preferred, verdict
from firehose_indexer.identity.outcome import Outcome, ResolutionError
from firehose_indexer.identity.web import document_url
from firehose_indexer.metrics import Metrics

T = TypeVar("T")


class Step(NamedTuple):
    """One question to the network. ``name``: dns, well-known, plc or web."""

    name: str
    asked: str
    said: str
    outcome: Outcome
    seconds: float


@dataclass(slots=True)
class Lookup:
    """What came out. ``problem`` is empty when the subject resolves; what is known stands here all the same."""

    subject: str
    did: str | None = None
    identity: Identity | None = None
    handle_state: HandleState = HandleState.unknown
    problem: str = ""
    steps: list[Step] = field(default_factory=list)

    @property
    def unanswered(self) -> bool:
        """Whether somebody did not answer, who may the next time."""
        return any(step.outcome is Outcome.failed for step in self.steps)


async def look_up(settings: Settings, subject: str, *, fresh: bool) -> Lookup:
    """Ask the network about a DID or a handle. Raises ConfigError for a PLC_URL that cannot be asked."""
    async with resolving(settings, NoShelf(), Metrics()) as way:
        asking = _Asking(way, Lookup(subject), fresh=fresh)
        await (asking.did(subject) if subject.startswith("did:") else asking.handle(subject))
    return asking.lookup


def as_json(lookup: Lookup) -> dict[str, Any]:
    identity = lookup.identity
    return {
        "subject": lookup.subject,
        "did": lookup.did,
        "handle": identity and identity.handle,
        "handle_state": lookup.handle_state,
        "pds": identity and identity.pds,
        "key": identity and identity.key and identity.key.did_key(),
        "key_problem": identity and identity.key_problem,
        "labeler": identity and identity.labeler,
        "label_key": identity and identity.label_key and identity.label_key.did_key(),
        "problem": lookup.problem or None,
        "steps": [step._asdict() | {"seconds": round(step.seconds, 4)} for step in lookup.steps],
    }


class _Asking:
    """Fills a ``Lookup``."""

    def __init__(self, way: Resolving, lookup: Lookup, *, fresh: bool) -> None:
        self.lookup = lookup
        self._way = way
        self._fresh = fresh

    async def did(self, did: str) -> None:
        """Its document, then the handle that this claims."""
        identity = await self._document(did)
        if identity is not None and identity.handle is not None:
            said = await self._both(identity.handle)
            self.lookup.handle_state = verdict(did, said)
        elif identity is not None:
            self.lookup.handle_state = HandleState.invalid

    async def handle(self, handle: str) -> None:
        """Its DID, then the document of that, which must claim the handle."""
        said = await self._both(handle)
        if isinstance(said, ResolutionError):
            told = [f"{step.name}: {step.said}" for step in self.lookup.steps]
            self.lookup.problem = f"{handle} does not resolve: {'; '.join(told) or _words(said)}"
            return
        identity = await self._document(said)
        if identity is None:
            return
        if identity.handle == handle.lower():
            self.lookup.handle_state = HandleState.valid
        else:
            claimed = identity.handle or "no handle"
            self.lookup.problem = f"{handle} leads to {said}, whose document claims {claimed}"

    async def _document(self, did: str) -> Identity | None:
        self.lookup.did = did
        network, resolver = self._way
        try:
            kind, host = network.place(did)
        except ResolutionError as error:
            self.lookup.problem = f"{did} does not resolve: {_words(error)}"
            return None
        url = document_url(host) if kind == "web" else f"{network.manners.plc_url}/{did}"
        said = await self._step(kind, url, resolver.identity(did, fresh=self._fresh))
        if isinstance(said, ResolutionError):
            self.lookup.problem = f"{did} does not resolve: {kind}: {_words(said)}"
            return None
        self.lookup.identity = said
        return said

    async def _both(self, handle: str) -> Said:
        network, ticket = self._way.network, Ticket(Priority.hydration)
        try:
            name = normal_handle(handle, local=network.local)
            url = network.manners.well_known.format(handle=name)
            dns, https = await asyncio.gather(
                self._step("dns", f"TXT _atproto.{name}", network.dns(name, ticket)),
                self._step("well-known", url, network.well_known(name, ticket)),
            )
            return preferred(dns, https)
        except ResolutionError as error:
            return error

    async def _step(self, name: str, asked: str, answer: Awaitable[T]) -> T | ResolutionError:
        begun = time.monotonic()
        said: T | ResolutionError
        try:
            said = await answer
        except ResolutionError as error:
            said = error
        outcome = said.outcome if isinstance(said, ResolutionError) else Outcome.ok
        words = _words(said) if isinstance(said, ResolutionError) else str(getattr(said, "did", said))
        self.lookup.steps.append(Step(name, asked, words, outcome, time.monotonic() - begun))
        return said


def _words(error: ResolutionError) -> str:
    kind = error.outcome.replace("_", " ")
    return f"{kind} ({error.detail})" if error.detail else kind
