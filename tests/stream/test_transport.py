from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

import pytest

from firehose_indexer.stream.transport import (
    ClosedError,
    Dialing,
    RefusedError,
    UnreachableError,
    opened,
)
from tests.stream.stream_wire import identity, refusal, relay

DIALING = Dialing("firehose-indexer/9 (+a@b.example)")
PATH = "/xrpc/x?cursor=7"


async def all_of(connection):
    """Everything until the end, and how it ended."""
    got = []
    while True:
        try:
            got += await connection.receive(5)
        except ClosedError as closed:
            return got, closed


async def batches_of(connection):
    batches = []
    with suppress(ClosedError):
        while True:
            batches.append(await connection.receive(5))
    return batches


async def test_messages_arrive_whole_in_order_before_the_end_is_told():
    sent = [identity(1), "text", b"\x01" * 3_000_000, identity(2), 1001]
    async with relay(sent) as server, opened(server.url + PATH, DIALING) as connection:
        got, closed = await all_of(connection)
    assert got == sent[:-1]
    assert (closed.code, closed.oversize, closed.pong_timeout) == (1001, None, False)
    assert server.paths == [PATH]
    assert server.agents == [DIALING.user_agent]


async def test_no_data_is_an_empty_list_after_the_patience():
    async with relay([]) as server, opened(server.url, DIALING) as connection:
        assert await connection.receive(0.01) == []


async def test_a_batch_is_bounded_in_items():
    async with relay([b"x"] * 600 + [1000]) as server, opened(server.url, DIALING) as connection:
        sizes = [len(batch) for batch in await batches_of(connection)]
    assert sum(sizes) == 600
    assert max(sizes) <= 256


async def test_a_batch_is_bounded_in_bytes():
    async with relay([b"x" * 700_000] * 6 + [1000]) as server, opened(server.url, DIALING) as connection:
        batches = await batches_of(connection)
    assert sum(map(len, batches)) == 6
    assert max(map(len, batches)) <= 2


async def test_who_does_not_take_stops_the_socket_and_loses_nothing():
    progress = []

    async def flood(ws):
        for n in range(400):
            await ws.send(n.to_bytes(4, "big") + b"x" * 200_000)
            progress.append(n)
        await ws.close(1000)

    dialing = DIALING._replace(queue_bytes=1_000_000)
    async with relay(flood) as server, opened(server.url, dialing) as connection:
        before = -1
        while len(progress) != before or not progress:
            before = len(progress)
            await asyncio.sleep(0.05)
        assert len(progress) < 390
        assert connection.backlog <= 6
        got, _ = await all_of(connection)
    assert [int.from_bytes(m[:4], "big") for m in got] == list(range(400))


@pytest.mark.parametrize("fragmented", [False, True])
async def test_a_message_beyond_the_limit_ends_the_connection_with_its_size(fragmented):
    async def send(ws):
        await ws.send([b"x" * 600, b"y" * 600] if fragmented else b"x" * 1200)

    dialing = DIALING._replace(max_message=1000)
    async with relay(send) as server, opened(server.url, dialing) as connection:
        _, closed = await all_of(connection)
    assert closed.code == 1009
    assert closed.oversize == (1200,)


async def test_our_close_code_reaches_the_server():
    async with relay([identity(1)]) as server:
        async with opened(server.url, DIALING) as connection:
            await connection.receive(5)
            connection.close_code = 1002
        while not server.close_codes:
            await asyncio.sleep(0.001)
    assert server.close_codes == [1002]


async def test_what_fails_inside_comes_out_as_it_is():
    async with relay([]) as server:
        with pytest.raises(KeyError):
            async with opened(server.url, DIALING):
                raise KeyError


async def test_two_missed_pongs_end_the_connection():
    async def deaf(ws):
        ws.transport.pause_reading()
        await asyncio.sleep(0.3)
        ws.transport.abort()

    async with relay(deaf) as server, opened(server.url, DIALING._replace(ping_every=0.02)) as connection:
        _, closed = await all_of(connection)
    assert closed.pong_timeout


async def test_pongs_missed_while_we_do_not_read_do_not_count():
    async def flood(ws):
        for _ in range(100):
            await ws.send(b"x" * 200_000)
        await ws.close(1000)

    dialing = DIALING._replace(ping_every=0.02, queue_bytes=1)
    async with relay(flood) as server, opened(server.url, dialing) as connection:
        await asyncio.sleep(0.2)
        got, closed = await all_of(connection)
    assert (len(got), closed.code) == (100, 1000)


async def test_a_connection_cut_without_a_word_is_1006():
    async def cut(ws):
        ws.transport.abort()

    async with relay(cut) as server, opened(server.url, DIALING) as connection:
        assert (await all_of(connection))[1].code == 1006


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_redirects_are_followed_with_the_cursor(status):
    async with relay([identity(1), 1000]) as target:
        there = refusal(status, Location=target.url.replace("ws:", "http:") + "/other?cursor=9999")
        async with relay(there) as server, opened(server.url + PATH, DIALING) as connection:
            assert (await all_of(connection))[0] == [identity(1)]
    assert target.paths == ["/other?cursor=7"]


async def test_three_redirects_are_followed_and_no_fourth():
    hop = refusal(302, Location="/again")
    async with relay(hop, hop, hop, [1000]) as server, opened(server.url, DIALING) as connection:
        assert (await all_of(connection))[1].code == 1000
    async with relay(hop) as server:
        with pytest.raises(UnreachableError, match="redirects"):
            async with opened(server.url, DIALING):
                pass
    assert len(server.paths) == 4


@pytest.mark.parametrize("location", ["ftp://x/y", "http://[", "//", "http://", "ws://x:99999/"])
async def test_a_redirect_to_nowhere_is_unreachable(location):
    async with relay(refusal(302, Location=location)) as server:
        with pytest.raises(UnreachableError):
            async with opened(server.url, DIALING):
                pass


async def test_the_guard_sees_where_a_redirect_leads():
    asked = []

    async def guard(host, port):
        asked.append((host, port))
        raise OSError("private address")

    async with relay(refusal(302, Location="ws://10.0.0.1:99/x")) as server:
        with pytest.raises(UnreachableError, match="private"):
            async with opened(server.url, DIALING._replace(guard=guard)):
                pass
    assert asked == [("10.0.0.1", 99)]


async def test_a_redirect_goes_to_the_address_that_was_judged():
    async def guard(host, port):
        return ["127.0.0.1"]

    async with relay([1000]) as target:
        there = refusal(302, Location=f"ws://no-such-name.invalid:{target.port}/x")
        async with (
            relay(there) as server,
            opened(server.url, DIALING._replace(guard=guard)) as connection,
        ):
            assert (await all_of(connection))[1].code == 1000
    assert target.paths == ["/x"]


async def test_the_place_that_the_operator_chose_is_not_guarded():
    async def guard(host, port):
        raise OSError("private address")

    async with (
        relay(refusal(302, Location="/x"), [1000]) as server,
        opened(server.url, DIALING._replace(guard=guard)) as connection,
    ):
        assert (await all_of(connection))[1].code == 1000
    assert server.paths == ["/", "/x"]


async def test_a_refusal_carries_status_retry_after_and_a_short_body():
    async with relay(refusal(503, b"x" * 9999, Retry_After="17")) as server:
        with pytest.raises(RefusedError) as refused:
            async with opened(server.url, DIALING):
                pass
    assert (refused.value.status, refused.value.retry_after, len(refused.value.body)) == (503, "17", 4096)


async def test_nobody_there_is_unreachable():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    for url in (f"ws://127.0.0.1:{port}", "ws://" + "a" * 70 + ".invalid"):
        with pytest.raises(UnreachableError):
            async with opened(url, DIALING):
                pass


async def test_something_that_is_not_http_is_unreachable():
    async def babble(reader, writer):
        writer.write(b"SSH-2.0-x\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(UnreachableError):
            async with opened(f"ws://127.0.0.1:{port}", DIALING):
                pass
