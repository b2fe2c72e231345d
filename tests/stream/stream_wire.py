"""Frames made by hand, and a stream that answers to a test."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from libipld import encode_dag_cbor
from websockets.asyncio.server import serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Response

DEVNET = Path(__file__).parents[1] / "data" / "devnet"
CID = b"\x01\x71\x12\x20" + b"\x07" * 32
OTHER_CID = b"\x01\x71\x12\x20" + b"\x09" * 32
TIME = "2026-11-22T12:00:00.000Z"


def frame(kind, **body):
    return encode_dag_cbor({"op": 1, "t": kind}) + encode_dag_cbor(body)


def identity(seq, **more):
    return frame("#identity", **({"seq": seq, "did": "did:plc:abc", "time": TIME} | more))


def commit_body(**more):
    body = {
        "seq": 7,
        "repo": "did:plc:abc",
        "commit": CID,
        "rev": "3kabcdefghij2",
        "since": None,
        "blocks": b"\x3a\xa2",
        "ops": [{"action": "create", "path": "a.b.c/d", "cid": CID}],
        "prevData": OTHER_CID,
        "time": TIME,
        "tooBig": False,
        "rebase": False,
        "blobs": [],
    }
    return {name: value for name, value in (body | more).items() if value is not ...}


def error_frame(error, message=""):
    return encode_dag_cbor({"op": -1}) + encode_dag_cbor({"error": error, "message": message})


class FakeClock:
    """Sleeps are remembered and take no time; the monotonic clock moves when told."""

    def __init__(self):
        self.at = 1000.0
        self.slept = []
        self.cpu = 0.0

    def monotonic(self):
        return self.at

    def busy(self):
        return self.cpu

    def now(self):
        return datetime(2026, 11, 22, 12, tzinfo=UTC) + timedelta(seconds=self.at)

    async def sleep(self, seconds):
        self.slept.append(seconds)
        self.at += seconds
        await asyncio.sleep(0)


class Counts:
    def __init__(self):
        self.kinds = {}
        self.ended = []
        self.seqs = []

    def frames(self, kinds):
        for kind, count in kinds.items():
            self.kinds[kind] = self.kinds.get(kind, 0) + count

    def seq(self, source, seq):
        self.seqs.append(seq)

    def reconnect(self, source, reason):
        self.ended.append(reason)


class Relay:
    """A server on loopback: each connection runs the next script, the last one for ever.

    A script is a list of frames to send (then the connection stays open), an int to close with a code,
    a Response to refuse the upgrade with, or an async function of the socket.
    """

    def __init__(self, *scripts):
        self.scripts = list(scripts)
        self.paths = []
        self.agents = []
        self.close_codes = []
        self.port = 0

    @property
    def url(self):
        return f"ws://127.0.0.1:{self.port}"

    def _script(self):
        return self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]

    def process_request(self, socket, request):
        self.paths.append(request.path)
        self.agents.append(request.headers.get("User-Agent"))
        script = self._script()
        if isinstance(script, Response):
            return script
        socket.script = script
        return None

    async def _play(self, socket):
        if callable(socket.script):
            await socket.script(socket)
            return
        for step in socket.script:
            if isinstance(step, int):
                await socket.close(step)
            else:
                await socket.send(step)

    async def handle(self, socket):
        # A client that leaves in the middle of a script is what many scripts are about.
        with suppress(ConnectionClosed):
            await self._play(socket)
        await socket.wait_closed()
        self.close_codes.append(socket.protocol.close_rcvd.code if socket.protocol.close_rcvd else None)


def refusal(status, body=b"", **headers):
    fields = Headers({name.replace("_", "-"): value for name, value in headers.items()})
    fields["Content-Length"] = str(len(body))
    return Response(status, "", fields, body)


@asynccontextmanager
async def relay(*scripts):
    server = Relay(*scripts)
    async with serve(
        server.handle, "127.0.0.1", 0, process_request=server.process_request, compression=None, max_size=None
    ) as listening:
        server.port = listening.sockets[0].getsockname()[1]
        yield server
