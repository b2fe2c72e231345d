"""A PLC directory on loopback: ``GET /{did}`` gives the DID document (spec/protocol §9)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Self

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


class Directory:
    """Serves what ``document`` knows; None is answered with 404. Use as an async context manager."""

    def __init__(
        self, document: Callable[[str], dict[str, Any] | None], *, port: int = 0, host: str = "127.0.0.1"
    ) -> None:
        self.port = port
        self.requests = 0
        self._document = document
        self._host = host
        app = web.Application()
        app.router.add_get("/{did}", self._answer)
        self._runner = web.AppRunner(app, access_log=None)

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

    async def _answer(self, request: web.Request) -> web.Response:
        self.requests += 1
        did = request.match_info["did"]
        document = self._document(did)
        if document is None:
            return web.json_response({"message": f"DID not registered: {did}"}, status=404)
        return web.Response(text=json.dumps(document), content_type="application/did+ld+json")
