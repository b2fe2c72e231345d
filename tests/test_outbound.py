from __future__ import annotations

import asyncio
import gzip
import time
from collections import Counter
from contextlib import asynccontextmanager
from email.utils import formatdate

import pytest
from aiohttp import web

from firehose_indexer.answers import Incoming, retry_after
from firehose_indexer.guard import OutboundFailed, OutboundRefused, Refusal, Rules
from firehose_indexer.metrics import Metrics
from firehose_indexer.outbound import Outbound
from firehose_indexer.sim.host import Host, dead, endless, slow

KIB = 1024
# 127.0.0.1 plays a public address, every other one is what it is: private.
ONE_PUBLIC = Rules(local=True, public=lambda address: str(address) == "127.0.0.1")
OPEN = Rules.of(allow_private=True)


class Names:
    """A lookup that answers in turn, the last answer for ever."""

    def __init__(self, **answers: list[list[str]]) -> None:
        self.answers = answers
        self.asked: Counter[str] = Counter()

    async def addresses(self, host: str) -> list[str]:
        self.asked[host] += 1
        found = self.answers[host.partition(".")[0]]
        return found.pop(0) if len(found) > 1 else found[0]


class Ear:
    """A socket that must hear nothing."""

    def __init__(self) -> None:
        self.heard = 0

    def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heard += 1
        writer.close()


@asynccontextmanager
async def listening(host: str = "127.0.0.2"):
    ear = Ear()
    server = await asyncio.start_server(ear, host, 0)
    async with server:
        yield ear, server.sockets[0].getsockname()[1]


async def drain(incoming: Incoming, handed: list[int]) -> None:
    async for piece in incoming.chunks():
        handed[0] += len(piece)


async def hello(request: web.Request) -> web.Response:
    return web.json_response({"host": request.host, "headers": dict(request.headers)})


def door(names=None, rules=OPEN, metrics=None, **options) -> Outbound:
    return Outbound(metrics or Metrics(), names or Names(), user_agent="test", rules=rules, **options)


@pytest.mark.parametrize("bad", ["169.254.169.254", "127.0.0.1", "10.0.0.1", "::1", "::ffff:127.0.0.1"])
async def test_a_name_that_resolves_to_a_private_address_is_refused(bad):
    metrics = Metrics()
    async with door(Names(evil=[[bad]]), Rules(), metrics) as outbound:
        with pytest.raises(OutboundRefused) as caught:
            await outbound.get("https://evil.test/", limit=KIB, seconds=5)
    assert caught.value.reason is Refusal.address
    assert metrics.registry.get_sample_value("firehose_outbound_refused_total", {"reason": "address"}) == 1


async def test_a_refused_name_is_sent_nothing():
    async with listening() as (ear, port), door(Names(evil=[["127.0.0.2"]]), ONE_PUBLIC) as outbound:
        with pytest.raises(OutboundRefused):
            await outbound.get(f"http://evil.test:{port}/", limit=KIB, seconds=5)
        await asyncio.sleep(0.05)
    assert ear.heard == 0


@pytest.mark.parametrize("order", [["127.0.0.1", "127.0.0.2"], ["127.0.0.2", "127.0.0.1"]])
async def test_one_public_and_one_private_address_are_refused_together(order):
    async with Host({"/": hello}) as host, listening() as (ear, _):
        async with door(Names(mixed=[order]), ONE_PUBLIC) as outbound:
            with pytest.raises(OutboundRefused):
                await outbound.get(f"http://mixed.test:{host.port}/", limit=KIB, seconds=5)
        assert (host.requests, ear.heard) == (0, 0)


async def test_a_redirect_to_a_private_address_is_refused_and_nothing_sent():
    async with listening() as (ear, port):

        async def redirect(request: web.Request) -> web.Response:
            target = {"name": f"http://evil.test:{port}/", "address": f"http://127.0.0.2:{port}/"}
            raise web.HTTPFound(target[request.query["to"]])

        async with Host({"/": redirect}) as host:
            async with door(Names(good=[["127.0.0.1"]], evil=[["127.0.0.2"]]), ONE_PUBLIC) as outbound:
                for to in ("name", "address"):
                    url = f"http://good.test:{host.port}/?to={to}"
                    with pytest.raises(OutboundRefused):
                        await outbound.get(url, limit=KIB, seconds=5, redirects=3)
            assert host.requests == 2
        assert ear.heard == 0


async def test_rebinding_between_check_and_connect_changes_nothing():
    names = Names(rebind=[["127.0.0.1"], ["127.0.0.2"]])
    async with Host({"/": hello}) as host, listening() as (ear, _), door(names, ONE_PUBLIC) as outbound:
        answer = await outbound.get(f"http://rebind.test:{host.port}/", limit=KIB, seconds=5)
        assert answer.status == 200
        assert (names.asked["rebind.test"], ear.heard, host.requests) == (1, 0, 1)
        assert b"rebind.test" in answer.body  # the Host header stays the name


@pytest.mark.parametrize("redirects", [0, 1, 3])
async def test_redirects_are_followed_so_far_and_no_further(redirects):
    async def again(request: web.Request) -> web.Response:
        raise web.HTTPFound(str(int(request.path[1:]) + 1))

    async with Host({"/{n}": again}) as host, door() as outbound:
        if redirects == 0:
            assert (await outbound.get(host.url + "/0", limit=KIB, seconds=5)).status == 302
        else:
            with pytest.raises(OutboundRefused) as caught:
                await outbound.get(host.url + "/0", limit=KIB, seconds=5, redirects=redirects)
            assert caught.value.reason is Refusal.redirects
        assert host.requests == redirects + 1


async def test_a_document_of_2_gib_is_read_no_further_than_its_limit():
    async with Host({"/": hello}) as host, door() as outbound:
        host.trouble("/", endless(2 << 30))
        async with asyncio.timeout(10), outbound.opened(host.url, limit=256 * KIB) as incoming:
            handed = [0]
            with pytest.raises(OutboundRefused) as caught:
                await drain(incoming, handed)
        assert caught.value.reason is Refusal.size
        assert 0 < handed[0] <= 256 * KIB


async def test_a_declared_length_beyond_the_limit_is_not_read_at_all():
    async def big(_: web.Request) -> web.Response:
        return web.Response(body=bytes(300 * KIB))

    host, outbound = Host({"/": big}), door()
    async with host, outbound, outbound.opened(host.url, limit=256 * KIB) as incoming:
        with pytest.raises(OutboundRefused):
            await incoming.body()
        assert incoming.taken == 0


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_the_limit_holds_on_inflated_bytes(coding):
    import zlib

    plain = bytes(64 << 20)
    body = gzip.compress(plain) if coding == "gzip" else zlib.compress(plain)

    async def bomb(_: web.Request) -> web.Response:
        return web.Response(body=body, headers={"Content-Encoding": coding})

    assert len(body) < 100 * KIB
    async with Host({"/": bomb}) as host, door() as outbound:
        async with outbound.opened(host.url, limit=256 * KIB) as incoming:
            with pytest.raises(OutboundRefused):
                await incoming.body()
            assert incoming.taken <= 256 * KIB + 65_536
        answer = await outbound.get(host.url, limit=64 << 20, seconds=10)
        assert answer.body == plain


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip"])
async def test_a_coding_nobody_asked_for_or_a_broken_one_is_a_failure(coding):
    async def odd(_: web.Request) -> web.Response:
        return web.Response(body=b"not compressed", headers={"Content-Encoding": coding})

    async with Host({"/": odd}) as host, door() as outbound:
        with pytest.raises(OutboundFailed):
            await outbound.get(host.url, limit=KIB, seconds=5)


async def test_an_attempt_ends_at_its_deadline():
    async with Host({"/": hello}) as host, door() as outbound:
        host.trouble("/", slow(30))
        with pytest.raises(OutboundFailed):
            await outbound.get(host.url, limit=KIB, seconds=0.05)


async def test_nobody_listening_is_a_failure_and_not_a_refusal():
    async with listening("127.0.0.1") as (_, port):
        pass
    async with door() as outbound:
        with pytest.raises(OutboundFailed):
            await outbound.get(f"http://127.0.0.1:{port}/", limit=KIB, seconds=5)


async def test_environment_proxies_are_ignored(monkeypatch):
    async with listening("127.0.0.1") as (ear, port), Host({"/": hello}) as host:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        async with door() as outbound:
            assert (await outbound.get(host.url, limit=KIB, seconds=5)).status == 200
        assert ear.heard == 0


async def test_a_proxy_that_was_asked_for_gets_every_request():
    async with (
        Host({"/{rest:.*}": hello}) as proxy,
        door(rules=Rules(local=True), proxy=proxy.url) as outbound,
    ):
        answer = await outbound.get("http://far.example.com/x", limit=8 * KIB, seconds=5)
        assert b"far.example.com" in answer.body
        assert proxy.requests == 1


async def test_the_guard_for_other_sockets_gives_judged_addresses():
    names = Names(good=[["127.0.0.1"]], evil=[["127.0.0.2"]])
    async with door(names, Rules(public=ONE_PUBLIC.public)) as outbound:
        assert await outbound.addresses("good.test", 443) == ["127.0.0.1"]
        for host, port in (("evil.test", 443), ("good.test", 80), ("2130706433", 443), ("127.0.0.1", 443)):
            with pytest.raises(OSError):
                await outbound.guard(host, port)


def test_retry_after_is_seconds_or_a_date():
    assert retry_after("120") == 120
    assert 55 < (retry_after(formatdate(time.time() + 60, usegmt=True)) or 0) <= 60
    assert retry_after(formatdate(0, usegmt=True)) == 0
    assert retry_after(None) is retry_after("soon") is retry_after("-1") is None


async def test_a_broken_connection_is_one_attempt():
    async with Host({"/": hello}) as host, door() as outbound:
        host.trouble("/", dead())
        for requests in (1, 2):
            with pytest.raises(OutboundFailed):
                await outbound.get(host.url, limit=KIB, seconds=5)
            assert host.requests == requests
