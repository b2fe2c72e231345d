"""A relay on loopback: ``com.atproto.sync.subscribeRepos`` with seqs, a window, cursors and faults.

Spec: protocol §1, §3.1. Every client reads from the one shared window at its own pace; who falls out of it is
told ``ConsumerTooSlow``.
"""

from __future__ import annotations

import asyncio
import json
from bisect import bisect_left, bisect_right
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from firehose_indexer.sim import wire
from firehose_indexer.sim.faults import Close, Cut, Faults, Rewind, Send, Stall, Step, Trickle

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from websockets.http11 import Request, Response

    from firehose_indexer.sim.wire import Emitted

POLL_SECONDS: Final = 0.5
"""The longest a client's task waits before it looks whether the connection still stands."""

SEND_SECONDS: Final = 60.0
"""The longest one message may take; a client that reads nothing for so long is cut off."""

TICK_SECONDS: Final = 0.01

LEAD: Final = 1_000
"""How many events a feed without a rate may be ahead of the slowest client."""


class Relay:
    """Serves what is published to it.

    ``window``: how many events can be replayed. ``inclusive``: whether a cursor's own event is sent again.
    ``port`` 0 picks a free one; ``url`` says which. Use as an async context manager.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        window: int = 10_000,
        inclusive: bool = False,
        faults: Faults | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self.port = port
        self.faults = faults or Faults()
        self.connections = 0
        """How many clients have connected so far."""
        self.slow = 0
        """How many were told that they are too slow."""
        self._host = host
        self._window = window
        self._inclusive = inclusive
        self._events: list[Emitted] = []
        self._gone = 0
        """Events that have left the window: position p is ``_events[p - _gone]``."""
        self._newest = 0
        self._clients: dict[ServerConnection, int] = {}
        """Where each client is: the position of its next event."""
        self._news = asyncio.Event()
        self._moved = asyncio.Event()
        self._server: Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await serve(
            self._client,
            self._host,
            self.port,
            process_request=self._admit,
            compression=None,
            max_size=65_536,
        )
        self.port = next(iter(self._server.sockets)).getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self._tell()
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        return f"ws://{self._host}:{self.port}"

    @property
    def clients(self) -> int:
        """How many clients are connected now."""
        return len(self._clients)

    @property
    def newest(self) -> int:
        """The highest seq published, 0 before the first."""
        return self._newest

    def publish(self, event: Emitted) -> None:
        """Append one event to the stream. Raises ValueError if its seq is below the last."""
        if event.seq < self._newest:
            raise ValueError(f"seq {event.seq} after {self._newest}")
        self._newest = event.seq
        self._events.append(event)
        # Trimmed in blocks: one by one it would cost the length of the window each time.
        if len(self._events) > self._window + self._window // 4:
            excess = len(self._events) - self._window
            del self._events[:excess]
            self._gone += excess
        self._tell()

    async def feed(self, events: Iterable[Emitted], rate: float | None = None) -> None:
        """Publish ``rate`` events a second, or as fast as the slowest client reads.

        Without a rate it waits for a first client, and never leaves one behind.
        """
        loop = asyncio.get_running_loop()
        begun = loop.time()
        for published, event in enumerate(events):
            if rate is None:
                await self._room()
            elif (early := begun + published / rate - loop.time()) > 0:
                await asyncio.sleep(max(early, TICK_SECONDS))
            self.publish(event)
            if published % 16 == 0:
                await asyncio.sleep(0)

    async def _room(self) -> None:
        lead = min(LEAD, self._window // 2)
        while not self._clients or self._end() - min(self._clients.values()) > lead:
            self._moved.clear()
            await self._moved.wait()

    async def closed(self) -> None:
        """Go on serving what was published until somebody closes the relay, or for ever."""
        assert self._server is not None
        await self._server.wait_closed()

    def _end(self) -> int:
        return self._gone + len(self._events)

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """The answer to anything that is not a subscription; None lets it through."""
        url = urlsplit(request.path)
        if url.path != wire.ENDPOINT:
            return connection.respond(HTTPStatus.NOT_FOUND, "not found\n")
        try:
            _cursor(request.path)
        except ValueError:
            problem = {"error": "InvalidRequest", "message": "cursor must be an integer"}
            response = connection.respond(HTTPStatus.BAD_REQUEST, json.dumps(problem))
            del response.headers["Content-Type"]
            response.headers["Content-Type"] = "application/json"
            return response
        return None

    async def _client(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        self.connections += 1
        try:
            position = await self._start(connection, _cursor(connection.request.path))
            if position is not None:
                await self._stream(connection, position)
        except (ConnectionClosed, TimeoutError):
            connection.transport.abort()
        finally:
            self._clients.pop(connection, None)
            self._moved.set()

    async def _start(self, connection: ServerConnection, cursor: int | None) -> int | None:
        """Where a client begins to read; None when it was sent away."""
        if cursor is None:
            return self._end()
        if cursor > self._newest:
            await connection.send(wire.error("FutureCursor", "Cursor in the future."))
            await connection.close(1008)
            return None
        oldest = self._events[0].seq if self._events else 1
        if cursor < oldest - 1 and cursor != 0:
            message = "Requested cursor exceeded limit. Possibly missing events"
            await connection.send(wire.info("OutdatedCursor", message))
        return self._position(cursor, inclusive=self._inclusive)

    def _position(self, seq: int, *, inclusive: bool) -> int:
        find = bisect_left if inclusive else bisect_right
        return self._gone + find(self._events, seq, key=lambda event: event.seq)

    async def _stream(self, connection: ServerConnection, position: int) -> None:
        slowed = 0
        pause = 0.0
        while connection.state is State.OPEN:
            self._clients[connection] = position
            self._moved.set()
            news = self._news
            if position < self._gone:
                self.slow += 1
                await connection.send(wire.error("ConsumerTooSlow", "Stream consumer too slow"))
                await connection.close(1008)
                return
            if position == self._end():
                await _heard(news)
                continue
            event = self._events[position - self._gone]
            position += 1
            if slowed:
                slowed -= 1
                await _pause(connection, pause)
            for step in self.faults.steps(event):
                match step:
                    case Trickle(events, seconds):
                        slowed, pause = events, seconds
                    case Rewind(seq):
                        position = self._position(seq, inclusive=False)
                    case _:
                        await _take(connection, step)


async def _take(connection: ServerConnection, step: Step) -> None:
    match step:
        case Send(message):
            async with asyncio.timeout(SEND_SECONDS):
                await connection.send(message)
        case Stall(seconds):
            await _pause(connection, seconds)
        case Close(code):
            await connection.close(code)
        case Cut():
            connection.transport.abort()
            await connection.wait_closed()


async def _pause(connection: ServerConnection, seconds: float) -> None:
    """Say nothing for so long, or until the client is gone."""
    try:
        async with asyncio.timeout(seconds):
            await connection.wait_closed()
    except TimeoutError:
        return


async def _heard(news: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(POLL_SECONDS):
            await news.wait()
    except TimeoutError:
        return


def _cursor(path: str) -> int | None:
    """The cursor of a request. Raises ValueError if it is not a whole number from 0."""
    values = parse_qs(urlsplit(path).query, keep_blank_values=True).get("cursor")
    if values is None:
        return None
    cursor = int(values[0])
    if cursor < 0:
        raise ValueError(cursor)
    return cursor
