"""An HTTP server on loopback with troubles, planned by path and counted when they happen.

    pds.trouble("/xrpc/com.atproto.sync.getRepo", failing(503), times=2)
    ...
    assert pds.fired["503"] == 2

A trouble happens instead of the answer, in the order planned, to requests whose path begins so.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from aiohttp import web

if TYPE_CHECKING:
    from types import TracebackType

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

FOREVER: Final = 1 << 60


class Trouble(NamedTuple):
    """``happen`` answers in place of the server; it may ask the server for its answer first."""

    name: str
    happen: Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]


def slow(seconds: float) -> Trouble:
    """The right answer, late."""

    async def happen(request: web.Request, handler: Handler) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        return await handler(request)

    return Trouble("slow", happen)


def dead() -> Trouble:
    """The connection is cut before any answer."""

    async def happen(request: web.Request, handler: Handler) -> web.StreamResponse:
        del handler
        if request.transport is not None:
            request.transport.abort()
        return web.Response()

    return Trouble("dead", happen)


def failing(status: int, *, retry_after: int | None = None) -> Trouble:
    """An error status, by default without a word when to come back."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}

    async def happen(request: web.Request, handler: Handler) -> web.StreamResponse:
        del request, handler
        return web.json_response({"error": "Trouble"}, status=status, headers=headers)

    return Trouble(str(status), happen)


def lying(change: Callable[[bytes], bytes]) -> Trouble:
    """The right answer, with its body changed."""

    async def happen(request: web.Request, handler: Handler) -> web.StreamResponse:
        answer = await _whole(request, handler)
        return web.Response(
            body=change(_body(answer)), status=answer.status, content_type=answer.content_type
        )

    return Trouble("lying", happen)


def trickling(size: int, seconds: float) -> Trouble:
    """The right answer, ``size`` bytes every ``seconds``."""

    async def happen(request: web.Request, handler: Handler) -> web.StreamResponse:
        answer = await _whole(request, handler)
        body = _body(answer)
        stream = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.content_type})
        await stream.prepare(request)
        for start in range(0, len(body), size):
            await stream.write(body[start : start + size])
            await asyncio.sleep(seconds)
        return stream

    return Trouble("trickling", happen)


def endless(size: int) -> Trouble:
    """A body of ``size`` spaces, made as it is read."""

    async def happen(request: web.Request, handler: Handler) -> web.StreamResponse:
        del handler
        stream = web.StreamResponse(headers={"Content-Type": "application/json"})
        await stream.prepare(request)
        for _ in range(size // 65_536):
            await stream.write(b" " * 65_536)
        return stream

    return Trouble("endless", happen)


class _Planned:
    def __init__(self, path: str, trouble: Trouble, times: int) -> None:
        self.path = path
        self.trouble = trouble
        self.times = times


class Host:
    """Serves ``routes`` (method GET) on loopback. Use as an async context manager."""

    def __init__(self, routes: dict[str, Handler], *, port: int = 0, host: str = "127.0.0.1") -> None:
        self.port = port
        self.requests = 0
        self.asked: Counter[str] = Counter()
        """Requests by path."""
        self.fired: Counter[str] = Counter()
        """Troubles by name."""
        self._host = host
        self._planned: list[_Planned] = []
        app = web.Application(middlewares=[self._troubled])
        for path, handler in routes.items():
            app.router.add_get(path, handler)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        return f"http://{self._host}:{self.port}"

    def trouble(self, path: str, trouble: Trouble, *, times: int = FOREVER) -> None:
        """Let it happen to the next ``times`` requests whose path begins so."""
        self._planned.append(_Planned(path, trouble, times))

    def calm(self) -> None:
        """No more troubles."""
        self._planned.clear()

    @web.middleware
    async def _troubled(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.requests += 1
        self.asked[request.path] += 1
        for planned in self._planned:
            if planned.times and request.path.startswith(planned.path):
                planned.times -= 1
                self.fired[planned.trouble.name] += 1
                return await planned.trouble.happen(request, handler)
        return await handler(request)


async def _whole(request: web.Request, handler: Handler) -> web.Response:
    answer = await handler(request)
    assert isinstance(answer, web.Response)
    return answer


def _body(answer: web.Response) -> bytes:
    body = answer.body
    assert isinstance(body, bytes | bytearray)
    return bytes(body)
