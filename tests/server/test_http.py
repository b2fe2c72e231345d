from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime

import aiohttp
import pytest
from aiohttp.test_utils import make_mocked_request

from firehose_indexer.errors import ConfigError
from firehose_indexer.kinds import Bind
from firehose_indexer.metrics import Metrics
from firehose_indexer.server import http
from firehose_indexer.server.http import HttpServer
from firehose_indexer.server.ready import Facts, Ready
from firehose_indexer.server.status import Rates, SourceStatus, StatusSnapshot

GOOD = Facts(
    phase="running",
    schema_current=True,
    lock_held=True,
    written_seconds=1.0,
    source_state="live",
    source_connected=True,
    lag_seconds=2.0,
    open_gaps=0,
    quarantine_bytes=0,
)
SNAPSHOT = StatusSnapshot(
    uptime_seconds=1.0,
    verify="off",
    source=SourceStatus(source="bsky.network", state="live", connected=True),
    events=Rates(1, 2, 3),
    rows=Rates(4, 5, 6),
    memory_bytes=1,
    memory_bound_bytes=2,
)


class Process:
    """Health as a test sets it."""

    def __init__(self) -> None:
        self.heartbeat = 0.1
        self.lane = True
        self.now = GOOD
        self.errors: list[tuple[str, BaseException]] = []

    def heartbeat_seconds(self) -> float:
        return self.heartbeat

    def lane_alive(self) -> bool:
        return self.lane

    def facts(self) -> Facts:
        return self.now

    def snapshot(self) -> StatusSnapshot:
        return SNAPSHOT

    def error(self, where: str, error: BaseException) -> None:
        self.errors.append((where, error))


class Client:
    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self.session = session
        self.base = base

    async def get(self, path: str, method: str = "GET") -> tuple[int, str, Mapping[str, str]]:
        async with self.session.request(method, self.base + path) as response:
            return response.status, await response.text(), response.headers


@pytest.fixture
def process() -> Process:
    return Process()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@asynccontextmanager
async def serving(process: Process, metrics: Metrics, bind: Bind) -> AsyncIterator[Client]:
    server = HttpServer(bind, process, Ready(lag_seconds=60, quarantine_bytes=100), metrics)
    await server.start()
    try:
        async with aiohttp.ClientSession() as session:
            yield Client(session, f"http://127.0.0.1:{server.port}")
    finally:
        await server.stop()


@pytest.fixture
async def client(process: Process, metrics: Metrics) -> AsyncIterator[Client]:
    async with serving(process, metrics, Bind("127.0.0.1", 0)) as client:
        yield client


async def test_healthz_is_green_while_the_loop_turns_and_the_lane_lives(client, process):
    assert (await client.get("/healthz"))[0] == 200
    process.heartbeat = 10.5
    assert (await client.get("/healthz"))[0] == 503
    process.heartbeat, process.lane = 0.1, False
    assert (await client.get("/healthz"))[0] == 503


async def test_readyz_lists_why_not_and_is_green_again(client, process):
    status, body, _ = await client.get("/readyz")
    assert (status, json.loads(body)) == (200, {"ready": True, "reasons": []})
    process.now = replace(GOOD, lag_seconds=90.0)
    status, body, _ = await client.get("/readyz")
    assert status == 503
    (reason,) = json.loads(body)["reasons"]
    assert reason["code"] == "lag"
    assert datetime.fromisoformat(reason["since"]).tzinfo is not None
    process.now = GOOD
    assert (await client.get("/readyz"))[0] == 200


async def test_metrics_are_prometheus_text(client, metrics):
    metrics.frames({"commit": 3})
    status, body, headers = await client.get("/metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert 'firehose_frames_total{kind="commit"} 3.0' in body


async def test_status_is_versioned_json(client):
    status, body, _ = await client.get("/status")
    assert status == 200
    assert json.loads(body)["schema"] == 1


async def test_requests_are_counted_by_route_and_strangers_share_one_label(client, metrics):
    await client.get("/healthz")
    for path in ("/made-up", "/other/made-up"):
        assert (await client.get(path))[0] == 404
    count = metrics.registry.get_sample_value
    assert count("firehose_http_requests_total", {"route": "/healthz", "code": "200"}) == 1
    assert count("firehose_http_requests_total", {"route": "other", "code": "404"}) == 2
    assert "made-up" not in metrics.render().decode()


async def test_refusals_are_json_and_nothing_names_the_software(client):
    status, body, headers = await client.get("/nothing")
    assert status == 404
    assert set(json.loads(body)) == {"error", "message"}
    assert "Server" not in headers
    assert (await client.get("/status", "POST"))[0] == 405
    assert "Server" not in (await client.get("/status"))[2]


async def test_a_handler_that_fails_is_a_500_without_details_and_is_kept(client, process, monkeypatch, capfd):
    def broken() -> Facts:
        raise RuntimeError("postgresql://u:sesame@h/d")

    monkeypatch.setattr(process, "facts", broken)
    status, body, headers = await client.get("/readyz")
    assert status == 500
    assert "sesame" not in body + capfd.readouterr().err
    assert [(where, type(error)) for where, error in process.errors] == [("http", RuntimeError)]
    assert "Server" not in headers


async def test_beyond_loopback_only_health_is_served(process, metrics):
    async with serving(process, metrics, Bind("0.0.0.0", 0)) as client:
        assert (await client.get("/healthz"))[0] == 200
        assert (await client.get("/readyz"))[0] == 200
        assert (await client.get("/metrics"))[0] == 403
        assert (await client.get("/status"))[0] == 403


async def test_too_many_connections_are_sent_away(client, monkeypatch):
    monkeypatch.setattr(http, "_CONNECTIONS", 0)
    status, _, headers = await client.get("/healthz")
    assert status == 429
    assert headers["Retry-After"] == "1"


async def test_a_slow_answer_is_cut_off(process, metrics, monkeypatch):
    async def slow(_: object) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(http, "_REQUEST_SECONDS", 0.01)
    server = HttpServer(Bind("127.0.0.1", 0), process, Ready(lag_seconds=1, quarantine_bytes=1), metrics)
    response = await server._answer(make_mocked_request("GET", "/healthz"), slow)
    assert response.status == 503


async def test_a_taken_address_is_a_configuration_error(process, metrics):
    async with serving(process, metrics, Bind("127.0.0.1", 0)) as client:
        port = int(client.base.rpartition(":")[2])
        second = HttpServer(
            Bind("127.0.0.1", port), process, Ready(lag_seconds=1, quarantine_bytes=1), Metrics()
        )
        with pytest.raises(ConfigError, match=f"127.0.0.1:{port}") as caught:
            await second.start()
        assert "HTTP_BIND" in caught.value.hint
