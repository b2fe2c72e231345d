"""Serve a recording as a relay, as fast as the client reads, with next to no CPU of its own.

    python bench/feeder.py RECORDING [--port 0]

Prints ``ws://127.0.0.1:PORT`` on standard output when it listens. Every message is framed for WebSocket once,
into a file beside the recording, and sent from there by the kernel. ``?cursor=N`` starts after seq N, without
it at the beginning: a bench measures the whole file. After the last message the connection stays open and
answers pings. One client at a time. On each disconnect one line of figures goes to standard error.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import os
import select
import socket
import struct
import sys
import time
from array import array
from bisect import bisect_right
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qs, urlsplit

import libipld
import zstandard

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

CHUNK = 1 << 20
"""Bytes sent between two looks at what the client says."""

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_BINARY, _CLOSE, _PING, _PONG = 0x82, 0x88, 0x89, 0x8A


class Prepared(NamedTuple):
    """A file of WebSocket frames; message i has ``seqs[i]`` and starts at ``offsets[i]``."""

    path: Path
    seqs: array[int]
    offsets: array[int]
    size: int


def messages(recording: Path) -> Iterator[bytes]:
    with recording.open("rb") as file:
        stream = zstandard.ZstdDecompressor().stream_reader(file)
        while head := _exactly(stream, 4):
            yield _exactly(stream, int.from_bytes(head))


def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    while 0 < len(data) < size:
        more = stream.read(size - len(data))
        if not more:
            raise EOFError("the recording is cut off")
        data += more
    return data


def frame(opcode: int, payload: bytes) -> bytes:
    """One unmasked WebSocket frame (RFC 6455 §5.2)."""
    size = len(payload)
    if size < 126:
        return struct.pack(">BB", opcode, size) + payload
    if size < 65_536:
        return struct.pack(">BBH", opcode, 126, size) + payload
    return struct.pack(">BBQ", opcode, 127, size) + payload


def prepare(recording: Path) -> Prepared:
    """Frame the recording, or take what an earlier run framed."""
    path, index = (
        recording.with_name(f"{recording.name}.ws"),
        recording.with_name(f"{recording.name}.ws.index"),
    )
    seqs, offsets = array("Q"), array("Q")
    if index.exists() and index.stat().st_mtime >= recording.stat().st_mtime:
        count = index.stat().st_size // 16
        with index.open("rb") as file:
            seqs.fromfile(file, count)
            offsets.fromfile(file, count)
        return Prepared(path, seqs, offsets, path.stat().st_size)
    size = 0
    with path.open("wb") as out:
        for message in messages(recording):
            seqs.append(libipld.decode_dag_cbor_multi(message)[1]["seq"])
            offsets.append(size)
            size += out.write(frame(_BINARY, message))
    with index.open("wb") as file:
        seqs.tofile(file)
        offsets.tofile(file)
    return Prepared(path, seqs, offsets, size)


def accept(client: socket.socket) -> int | None:
    """Answer the WebSocket handshake; gives the cursor asked for. Raises ValueError for anything else."""
    request = b""
    while b"\r\n\r\n" not in request:
        data = client.recv(4096)
        if not data or len(request) > 16_384:
            raise ValueError("no handshake")
        request += data
    first, *lines = request.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    key = headers["sec-websocket-key"].encode()
    answer = base64.b64encode(hashlib.sha1(key + _GUID).digest()).decode()
    client.sendall(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {answer}\r\n\r\n".encode()
    )
    cursor = parse_qs(urlsplit(first.split(" ")[1]).query).get("cursor")
    return int(cursor[0]) if cursor else None


class Client:
    """One connection: sends the file from a message on, answers pings, ends when the client does."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._said = b""

    def serve(self, prepared: Prepared, first: int) -> None:
        with prepared.path.open("rb") as file:
            start = prepared.offsets[first] if first < len(prepared.offsets) else prepared.size
            while start < prepared.size:
                # Chunks end where messages do, so that a pong never falls inside one.
                last = bisect_right(prepared.offsets, start + CHUNK)
                stop = prepared.offsets[last] if last < len(prepared.offsets) else prepared.size
                while start < stop:
                    start += os.sendfile(self._socket.fileno(), file.fileno(), start, stop - start)
                if not self._listen(0):
                    return
        while self._listen(None):
            pass

    def _listen(self, seconds: float | None) -> bool:
        """Hear what the client says, waiting up to ``seconds``; False when it closes."""
        if not select.select([self._socket], [], [], seconds)[0]:
            return True
        data = self._socket.recv(65_536)
        if not data:
            return False
        self._said += data
        while len(self._said) >= 6:
            size = self._said[1] & 127
            if size > 125:
                return False
            if len(self._said) < 6 + size:
                break
            opcode, mask, body = self._said[0], self._said[2:6], self._said[6 : 6 + size]
            self._said = self._said[6 + size :]
            payload = bytes(byte ^ mask[i % 4] for i, byte in enumerate(body))
            if opcode == _PING:
                self._socket.sendall(frame(_PONG, payload))
            if opcode == _CLOSE:
                self._socket.sendall(frame(_CLOSE, payload))
                return False
        return True


def serve(recording: Path, port: int) -> None:
    prepared = prepare(recording)
    with socket.create_server(("127.0.0.1", port)) as server:
        sys.stdout.write(f"ws://127.0.0.1:{server.getsockname()[1]}\n")
        sys.stdout.flush()
        while True:
            connection, _ = server.accept()
            with connection:
                cpu, wall = time.process_time(), time.perf_counter()
                first = 0
                try:
                    cursor = accept(connection)
                    first = 0 if cursor is None else bisect_right(prepared.seqs, cursor)
                    Client(connection).serve(prepared, first)
                except (OSError, ValueError, KeyError) as error:
                    sys.stderr.write(f"connection ended: {error!r}\n")
                _report(len(prepared.seqs) - first, time.process_time() - cpu, time.perf_counter() - wall)


def _report(events: int, cpu: float, wall: float) -> None:
    each = cpu / events * 1e6 if events else 0.0
    sys.stderr.write(f"up to {events} events, {wall:.2f} s, {cpu:.2f} s CPU, {each:.2f} µs CPU each\n")
    sys.stderr.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recording", type=Path)
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    serve(options.recording, options.port)


if __name__ == "__main__":
    main()
