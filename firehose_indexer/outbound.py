"""The one guarded HTTP door of the process (spec/services (a), SSRF guard, size and time).

Every URL is judged before it is asked; its name is resolved once, every address is judged, and the
connection goes to a judged address itself. Each redirect passes the same way again.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final, Protocol, Self
from urllib.parse import urljoin

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from firehose_indexer.answers import Answer, Incoming, transport_errors
from firehose_indexer.guard import OutboundFailed, OutboundRefused, Refusal, Rules, parse_address
from firehose_indexer.metrics import Metrics

CONNECT_SECONDS: Final = 5.0
CONNECTIONS: Final = 100
_REDIRECTS: Final = frozenset((301, 302, 303, 307, 308))


class Lookup(Protocol):
    """Names, or a test's stand-in for it."""

    async def addresses(self, host: str) -> list[str]: ...


class Outbound:
    """An HTTP client for addresses that strangers name. Use as an async context manager.

    ``proxy``: an http:// URL through which everything goes. It resolves the names, so it must itself
    refuse private addresses; schemes, ports and hosts are judged here all the same.
    """

    def __init__(
        self,
        metrics: Metrics,
        lookup: Lookup,
        *,
        user_agent: str,
        rules: Rules | None = None,
        proxy: str | None = None,
    ) -> None:
        self.rules = rules or Rules()
        self._metrics = metrics
        self._lookup = lookup
        self._proxy = proxy
        self._headers = {"User-Agent": user_agent, "Accept-Encoding": "gzip, deflate"}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        resolver = _Judged(self) if self._proxy is None else None
        self._session = aiohttp.ClientSession(
            # A TXT of DNS is cached by DNS; an address that was judged is used once, by the connection.
            connector=aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False, limit=CONNECTIONS),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=self._headers,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
            auto_decompress=False,
            trust_env=False,
            middlewares=(_once,),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(
        self,
        url: str,
        *,
        limit: int,
        seconds: float,
        redirects: int = 0,
        accept: str = "*/*",
        params: Mapping[str, str] | None = None,
    ) -> Answer:
        """One GET, whole within ``seconds``, its body at most ``limit`` bytes.

        With ``redirects`` 0 a redirect is an answer like another. Raises OutboundRefused, OutboundFailed.
        """
        opened = self.opened(url, limit=limit, redirects=redirects, accept=accept, params=params)
        try:
            async with asyncio.timeout(seconds), opened as incoming:
                return Answer(incoming.status, incoming.headers, await incoming.body(), incoming.url)
        except TimeoutError:
            raise OutboundFailed(f"no answer within {seconds:g} s") from None

    @asynccontextmanager
    async def opened(
        self,
        url: str,
        *,
        limit: int,
        redirects: int = 0,
        accept: str = "*/*",
        params: Mapping[str, str] | None = None,
    ) -> AsyncIterator[Incoming]:
        """An answer to be read piece by piece; the caller sets the deadlines. Raises as ``get``."""
        with transport_errors():
            response = await self._follow(url, redirects, accept, params)
        async with response:
            yield Incoming(response, limit, self._refused)

    async def guard(self, host: str, port: int) -> None:
        """Judge a host that somebody else will connect to. Raises OutboundRefused, OutboundFailed."""
        await self.addresses(host, port)

    async def addresses(self, host: str, port: int) -> list[str]:
        """The judged addresses of a host: connect to one of these, not to the name. Raises as ``guard``."""
        host = host.lower()
        try:
            self.rules.judge_host(host, port)
        except OutboundRefused as error:
            raise self._refused(error.reason, host) from None
        return await self.resolve(host)

    async def resolve(self, host: str) -> list[str]:
        """Every address of ``host``, or none: one bad address refuses the whole answer."""
        if self.rules.local and parse_address(host) is not None:
            found = [host]
        else:
            try:
                found = await self._lookup.addresses(host)
            except OSError as error:
                raise OutboundFailed(f"{host[:100]}: {type(error).__name__}: {error}"[:200]) from error
        parsed = [parse_address(text) for text in found]
        for address in parsed:
            if address is None or not self.rules.public(address):
                raise self._refused(Refusal.address, f"{host[:100]} is at {address}")
        if not parsed:
            raise OutboundFailed(f"{host[:100]} has no address")
        return found

    async def _follow(
        self, url: str, redirects: int, accept: str, params: Mapping[str, str] | None
    ) -> aiohttp.ClientResponse:
        assert self._session is not None, "the door is not open"
        target = self._judged(url).update_query(params or {})
        for hops in range(redirects + 1):
            response = await self._session.get(
                target, allow_redirects=False, headers={"Accept": accept}, proxy=self._proxy
            )
            location = response.headers.get("Location")
            if redirects == 0 or response.status not in _REDIRECTS or location is None:
                return response
            response.close()
            if hops < redirects:
                target = self._judged(urljoin(str(target), location))
        raise self._refused(Refusal.redirects, f"more than {redirects}")

    def _judged(self, url: str) -> URL:
        try:
            return self.rules.judge(url)
        except OutboundRefused as error:
            self._metrics.outbound_refused(error.reason)
            raise

    def _refused(self, reason: Refusal, detail: str) -> OutboundRefused:
        self._metrics.outbound_refused(reason)
        return OutboundRefused(reason, detail)


async def _once(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """A broken connection is our caller's to retry: the library would, unasked, and count it nowhere."""
    with transport_errors():
        return await send(request)


class _Judged(AbstractResolver):
    """What aiohttp asks where to connect: it gets judged addresses, and connects to one of those."""

    def __init__(self, outbound: Outbound) -> None:
        self._outbound = outbound

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in await self._outbound.resolve(host)
            if family in (socket.AF_UNSPEC, socket.AF_INET6 if ":" in address else socket.AF_INET)
        ]

    async def close(self) -> None:
        """Nothing is held."""
