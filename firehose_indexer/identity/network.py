"""Asking the network: in turn, again when nobody answers, and not at all when nobody is there (services (a))."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple, TypeVar
from urllib.parse import urlsplit

from firehose_indexer.identity.breaker import Breaker, Breakers, Kind
from firehose_indexer.identity.document import Identity
from firehose_indexer.identity.gate import Full, Gate, Ticket
from firehose_indexer.identity.handle import (
    WELL_KNOWN,
    Ambiguous,
    Said,
    Texts,
    normal_handle,
    preferred,
    resolve_dns,
    resolve_https,
)
from firehose_indexer.identity.outcome import (
    DidFailed,
    DidMethod,
    DidSyntax,
    HandleNotFound,
    Outcome,
    Postponed,
    ResolutionError,
    Unanswered,
)
from firehose_indexer.identity.plc import is_plc, resolve_plc
from firehose_indexer.identity.web import resolve_web, web_host
from firehose_indexer.metrics import Metrics
from firehose_indexer.outbound import Outbound
from firehose_indexer.repo.syntax import is_did

T = TypeVar("T")

ATTEMPT_SECONDS: Final = 5.0
BACKOFF_SECONDS: Final = 1.0
BACKOFF_LIMIT: Final = 15.0
OBEYED_SECONDS: Final = 60.0
"""The longest Retry-After that is slept; a longer one ends the errand."""
CROWDED_SECONDS: Final = 30.0
RESERVED: Final = 5


class Manners(NamedTuple):
    """How the network is asked. ``seconds``: for one resolution, with its retries, from the first request on."""

    plc_url: str = "https://plc.directory"
    concurrency: int = 15
    retries: int = 3
    seconds: float = 15.0
    breaker_failures: int = 5
    breaker_seconds: float = 60.0
    well_known: str = WELL_KNOWN


class Network:
    """DID → document and handle → DID, as the network says now. Remembers nothing but whom to leave alone."""

    def __init__(
        self,
        outbound: Outbound,
        texts: Texts,
        metrics: Metrics,
        manners: Manners | None = None,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.manners = manners = manners or Manners()
        self.gate = Gate(manners.concurrency, RESERVED)
        self.breakers = Breakers(
            manners.breaker_failures, manners.breaker_seconds, clock=clock, told=metrics.breaker_turned
        )
        self.clock = clock
        self._outbound = outbound
        self._texts = texts
        self._metrics = metrics
        self._sleep = sleep
        self.local = outbound.rules.local
        self._plc_url = manners.plc_url.rstrip("/")
        self._plc_host = urlsplit(self._plc_url).netloc

    def place(self, did: str) -> tuple[Kind, str]:
        """Where the document of ``did`` is asked for. Raises DidSyntax, DidMethod."""
        if is_plc(did) is not None:
            return "plc", self._plc_host
        if did.startswith("did:plc:") or not is_did(did):
            raise DidSyntax("not a DID")
        if did.startswith("did:web:"):
            return "web", web_host(did, local=self.local)
        raise DidMethod(did[:40])

    async def document(self, did: str, ticket: Ticket) -> Identity:
        """Raises DidSyntax, DidMethod, DidNotFound, DidDocument, DidFailed, Postponed."""
        kind, host = self.place(did)
        if kind == "plc":
            return await self._ask(
                "plc", host, ticket, lambda s: resolve_plc(self._outbound, self._plc_url, did, s)
            )
        return await self._ask("web", host, ticket, lambda s: resolve_web(self._outbound, host, did, s))

    async def handle(self, handle: str, ticket: Ticket) -> str:
        """Ask both, prefer the DNS. Raises HandleNotFound, DidFailed, Postponed."""
        handle = normal_handle(handle, local=self.local)
        async with asyncio.TaskGroup() as tasks:
            dns = tasks.create_task(self.dns(handle, ticket))
            https = tasks.create_task(self.well_known(handle, ticket))
            said = await dns
            if isinstance(said, str | Ambiguous):
                https.cancel()
        return preferred(said, said if https.cancelled() else https.result())

    async def dns(self, handle: str, ticket: Ticket) -> Said:
        """What the DNS says of a ``normal_handle``."""
        return await self._said("dns", "", ticket, lambda s: resolve_dns(self._texts, handle, s))

    async def well_known(self, handle: str, ticket: Ticket) -> Said:
        """What the web server of a ``normal_handle`` says."""
        url = self.manners.well_known.format(handle=handle)
        return await self._said("handle", handle, ticket, lambda s: resolve_https(self._outbound, url, s))

    async def _said(
        self, kind: Kind, host: str, ticket: Ticket, ask: Callable[[float], Awaitable[str]]
    ) -> Said:
        try:
            return await self._ask(kind, host, ticket, ask)
        except (HandleNotFound, DidFailed) as error:
            return error

    async def _ask(self, kind: Kind, host: str, ticket: Ticket, ask: Callable[[float], Awaitable[T]]) -> T:
        """The answer to ``ask``, tried as often as the manners allow; sleeps hold no slot."""
        begun = time.monotonic()
        result: str = Outcome.failed
        try:
            answer = await self._persist(self.breakers.of(kind, host), kind, host, ticket, ask)
            result = Outcome.ok
        except ResolutionError as error:
            result = "postponed" if isinstance(error, Postponed) else error.outcome
            raise
        finally:
            self._metrics.identity_lookup(kind, result, time.monotonic() - begun)
        return answer

    async def _persist(
        self, breaker: Breaker, kind: Kind, host: str, ticket: Ticket, ask: Callable[[float], Awaitable[T]]
    ) -> T:
        manners, clock = self.manners, self.clock
        crowd = host if kind in {"web", "handle"} else None
        attempt = 0
        while True:
            breaker.check()
            try:
                async with self.gate.slot(ticket, crowd, directory=kind == "plc"):
                    with breaker.attempt():
                        if ticket.begun_at is None:
                            ticket.begun_at = clock()
                        left = ticket.begun_at + manners.seconds - clock()
                        return await ask(max(0.1, min(ATTEMPT_SECONDS, left)))
            except Full:
                raise Postponed(clock() + CROWDED_SECONDS, "too many are waiting") from None
            except Unanswered as error:
                pause = random.uniform(0.5, 1.0) * min(BACKOFF_LIMIT, BACKOFF_SECONDS * 2**attempt)
                pause = max(pause, error.retry_after or 0.0)
                assert ticket.begun_at is not None
                left = ticket.begun_at + manners.seconds - clock()
                if attempt >= manners.retries or pause > min(left, OBEYED_SECONDS):
                    # Nobody said when to come back: the cache knows how long to wait.
                    retry_at = clock() + (error.retry_after or 0.0)
                    raise DidFailed(retry_at, str(error)) from error
            attempt += 1
            await self._sleep(pause)
