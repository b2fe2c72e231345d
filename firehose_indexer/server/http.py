"""The four routes, and the limits on whoever asks (spec/services (l))."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import time
from typing import Any, Protocol

from aiohttp import web
from aiohttp.typedefs import Handler

from firehose_indexer.errors import ConfigError
from firehose_indexer.kinds import Bind
from firehose_indexer.masking import mask
from firehose_indexer.metrics import OTHER, Metrics
from firehose_indexer.server.ready import Facts, Ready
from firehose_indexer.server.status import StatusSnapshot, as_json

HEARTBEAT_SECONDS = 10.0
_REQUEST_SECONDS = 30
_BODY_BYTES = 1 << 20
_CONNECTIONS = 200
_STOP_SECONDS = 2.0
_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


class Health(Protocol):
    """What the server asks of the process. Every answer is from memory, at once."""

    def heartbeat_seconds(self) -> float:
        """Age of the event loop's last heartbeat."""

    def lane_alive(self) -> bool:
        """Whether the task that writes batches still runs."""

    def facts(self) -> Facts: ...

    def snapshot(self) -> StatusSnapshot: ...

    def error(self, where: str, error: BaseException) -> None:
        """Keep an error that an answer died of."""


class HttpServer:
    """Serves ``/healthz /readyz /metrics /status`` on ``bind``.

    Beyond loopback ``/metrics`` and ``/status`` are refused: there is no token to ask for.
    """

    def __init__(self, bind: Bind, health: Health, ready: Ready, metrics: Metrics) -> None:
        self._bind = bind
        self._health = health
        self._ready = ready
        self._metrics = metrics
        self._private = _is_loopback(bind.host)
        app = web.Application(middlewares=[self._guard], client_max_size=_BODY_BYTES)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics_page)
        app.router.add_get("/status", self._status)
        app.on_response_prepare.append(_anonymous)
        self._routes = frozenset(route.resource.canonical for route in app.router.routes() if route.resource)
        self._runner = web.AppRunner(
            app, access_log=None, keepalive_timeout=15, handle_signals=False, shutdown_timeout=_STOP_SECONDS
        )

    @property
    def port(self) -> int:
        """The port in use, also when 0 was asked for. Known once started."""
        found: int = self._runner.addresses[0][1]
        return found

    async def start(self) -> None:
        """Raises ConfigError when the address cannot be had."""
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._bind.host, self._bind.port, backlog=_CONNECTIONS).start()
        except OSError as error:
            await self._runner.cleanup()
            raise ConfigError(
                f"cannot listen on {self._bind}: {error.strerror or error}\n  (from HTTP_BIND)",
                hint=f"HTTP_BIND={Bind(self._bind.host, 0)} takes any free port",
            ) from None

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        age = self._health.heartbeat_seconds()
        lane = self._health.lane_alive()
        alive = lane and age <= HEARTBEAT_SECONDS
        body = {"alive": alive, "heartbeat_seconds": round(age, 1), "lane": lane}
        return _json(body, 200 if alive else 503)

    async def _readyz(self, _: web.Request) -> web.Response:
        reasons = self._ready.judge(self._health.facts())
        if not reasons:
            return _json({"ready": True, "reasons": []})
        listed = [
            {"code": r.code, "detail": mask(r.detail), "since": r.since.isoformat(timespec="seconds")}
            for r in reasons
        ]
        return _json({"ready": False, "reasons": listed}, 503)

    async def _metrics_page(self, _: web.Request) -> web.Response:
        return web.Response(body=self._metrics.render(), headers={"Content-Type": _PROMETHEUS})

    async def _status(self, _: web.Request) -> web.Response:
        return _json(as_json(self._health.snapshot()))

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        began = time.perf_counter()
        response = await self._answer(request, handler)
        resource = request.match_info.route.resource
        route = resource.canonical if resource and resource.canonical in self._routes else OTHER
        self._metrics.http(route, response.status, time.perf_counter() - began)
        return response

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        server = self._runner.server
        if server is not None and len(server.connections) > _CONNECTIONS:
            busy = _error(429, "RateLimitExceeded", "too many connections")
            busy.headers["Retry-After"] = "1"
            busy.force_close()
            return busy
        if not self._private and request.path in {"/metrics", "/status"}:
            return _error(403, "Forbidden", "served on loopback only")
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                return await handler(request)
        except web.HTTPException as refusal:
            return _error(refusal.status, refusal.reason.replace(" ", ""), refusal.reason)
        except TimeoutError:
            return _error(503, "Timeout", f"no answer within {_REQUEST_SECONDS} s")
        except Exception as error:  # noqa: BLE001  # aiohttp would print it, unmasked and past the log
            self._health.error("http", error)
            return _error(500, "InternalServerError", "see errors in /status")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _error(status: int, error: str, message: str) -> web.Response:
    return _json({"error": error, "message": message}, status)


def _json(body: dict[str, Any], status: int = 200) -> web.Response:
    return web.json_response(
        body, status=status, headers={"Cache-Control": "no-store"}, dumps=lambda b: json.dumps(b) + "\n"
    )


async def _anonymous(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.pop("Server", None)
    response.headers["X-Content-Type-Options"] = "nosniff"
