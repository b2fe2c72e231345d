"""A WebSocket as a stream of raw messages (spec/protocol §4): the only file that knows the library.

``opened`` connects and reads ahead into a bounded inbox; when nobody takes from it, the socket is not
read either, and the relay feels it. Every way a connection can fail or end is one of three exceptions.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urljoin, urlsplit, urlunsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI, PayloadTooBig

from firehose_indexer.stream.frames import MAX_FRAME

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from websockets.http11 import Response

TCP_AND_TLS: Final = 10.0
UPGRADE: Final = 15.0
CLOSING: Final = 2.0
MAX_REDIRECTS: Final = 3
MARGIN: Final = 65_536
"""Read beyond the frame limit, so that what is slightly too big can be kept and skipped in place."""
READ_AHEAD: Final = 64
"""Messages the library holds before it pauses the socket; ours is the inbox behind it."""
BATCH_ITEMS: Final = 256
BATCH_BYTES: Final = 1_048_576
_REDIRECTS: Final = frozenset((301, 302, 307, 308))
_SCHEMES: Final = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}


class RefusedError(Exception):
    """The server answered the upgrade with something else. ``body`` is at most 4 KiB."""

    def __init__(self, status: int, body: bytes, retry_after: str | None) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.body = body
        self.retry_after = retry_after


class UnreachableError(Exception):
    """No answer: name, route, TLS, time, or something that is not HTTP."""


class ClosedError(Exception):
    """The connection is over. ``code`` is the close code, 1006 when there was none.

    ``oversize`` is set when we closed it over a message beyond the limit: (its size if known,).
    """

    def __init__(self, code: int, detail: str, *, pong_timeout: bool = False) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail
        self.pong_timeout = pong_timeout
        self.oversize: tuple[int | None] | None = None


class Dialing(NamedTuple):
    """How to connect. The URL given is believed, the targets of redirects are not: ``guard(host, port)``
    tells to which addresses such a connection may go, or refuses it by raising OSError.
    """

    user_agent: str
    queue_bytes: int = 64 * 1024 * 1024
    max_message: int = MAX_FRAME + MARGIN
    ping_every: float = 20.0
    guard: Callable[[str, int], Awaitable[Sequence[str]]] | None = None


class Connection:
    """Raw messages as they come. Made by ``opened``."""

    def __init__(self, socket: ClientConnection, dialing: Dialing) -> None:
        self._socket = socket
        self._dialing = dialing
        self._inbox: deque[bytes | str] = deque()
        self._held = 0
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._was_full = False
        self._pong_timeout = False
        self._closed: ClosedError | None = None
        self.close_code = 1000

    @property
    def backlog(self) -> int:
        """Messages read from the socket and not yet taken."""
        return len(self._inbox)

    @property
    def backlog_bytes(self) -> int:
        """Bytes read from the socket and not yet taken."""
        return self._held

    async def receive(self, patience: float) -> list[bytes | str]:
        """What has arrived, at most 256 messages or the one that passes 1 MiB; nothing after ``patience`` s.

        Raises ClosedError once everything that arrived before the end was taken.
        """
        if not self._inbox:
            if self._closed is not None:
                raise self._closed
            self._arrived.clear()
            try:
                async with asyncio.timeout(patience):
                    await self._arrived.wait()
            except TimeoutError:
                return []
        taken: list[bytes | str] = []
        size = 0
        while self._inbox and len(taken) < BATCH_ITEMS and size < BATCH_BYTES:
            message = self._inbox.popleft()
            taken.append(message)
            size += len(message)
        self._held -= size
        if self._held < self._dialing.queue_bytes:
            self._room.set()
        return taken

    async def read(self) -> None:
        """Fill the inbox until the connection ends."""
        receive = self._socket.recv
        try:
            while True:
                message = await receive()
                self._inbox.append(message)
                self._held += len(message)
                self._arrived.set()
                if self._held >= self._dialing.queue_bytes:
                    self._was_full = True
                    self._room.clear()
                    await self._room.wait()
        except ConnectionClosed as error:
            self._closed = self._explain(error)
        finally:
            self._arrived.set()

    async def keep_alive(self) -> None:
        """Two pings running without a pong end the connection, unless it was we who did not read."""
        missed = 0
        try:
            while missed < 2:
                await asyncio.sleep(self._dialing.ping_every)
                self._was_full = not self._room.is_set()
                pong = asyncio.ensure_future(await self._socket.ping())
                done, _ = await asyncio.wait({pong}, timeout=self._dialing.ping_every)
                missed = 0 if done or self._was_full else missed + 1
        except ConnectionClosed:
            return
        self._pong_timeout = True
        self._socket.transport.abort()

    async def close(self) -> None:
        await self._socket.close(self.close_code)

    def _explain(self, error: ConnectionClosed) -> ClosedError:
        cause = error.__cause__
        frame = error.rcvd or error.sent
        if frame is None:
            return ClosedError(1006, str(cause or error), pong_timeout=self._pong_timeout)
        closed = ClosedError(frame.code, frame.reason)
        if isinstance(cause, PayloadTooBig):
            closed.oversize = (_total(cause),)
        return closed


@asynccontextmanager
async def opened(url: str, dialing: Dialing) -> AsyncIterator[Connection]:
    """A connection that reads while the block runs. Raises RefusedError or UnreachableError."""
    connection = Connection(await _dial(url, dialing), dialing)
    failure: Exception | None = None
    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(connection.read())
        pinging = tasks.create_task(connection.keep_alive())
        try:
            yield connection
        except Exception as error:  # noqa: BLE001
            failure = error  # raised below: inside the group it would come out as a group
        finally:
            pinging.cancel()
            reading.cancel()
            await connection.close()
    if failure is not None:
        raise failure


class _Dial(connect):
    """The library's connect, with our own deadline for TCP and TLS, and redirects left to us."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc

    async def open_tcp_connection(self) -> ClientConnection:
        async with asyncio.timeout(TCP_AND_TLS):
            return await super().open_tcp_connection()


async def _dial(url: str, dialing: Dialing) -> ClientConnection:
    trusted = _place(url)
    # The address that was judged is the one to connect to: a second lookup may give another.
    judged: dict[str, Any] = {}
    for _ in range(MAX_REDIRECTS + 1):
        try:
            return await _Dial(
                url,
                compression=None,  # measured: inflating doubles the CPU of a frame, 3.9 to 7.1 µs
                user_agent_header=dialing.user_agent,
                proxy=None,
                open_timeout=TCP_AND_TLS + UPGRADE,
                ping_interval=None,
                close_timeout=CLOSING,
                max_size=dialing.max_message,
                max_queue=READ_AHEAD,
                **judged,
            )
        except InvalidStatus as error:
            answer = error.response
            if answer.status_code not in _REDIRECTS:
                raise _refused(answer) from None
            url = _redirected(url, answer)
            judged = {}
            if dialing.guard is not None and _place(url) != trusted:
                judged["host"] = await _judged(url, dialing.guard)
        except (OSError, InvalidHandshake, InvalidURI, ValueError) as error:
            raise UnreachableError(_words(error)) from None
    raise UnreachableError(f"more than {MAX_REDIRECTS} redirects")


def _redirected(url: str, answer: Response) -> str:
    """Where to go instead. The query stays ours: a redirect must not lose the cursor."""
    here = urlsplit(url)
    try:
        there = urlsplit(urljoin(url, answer.headers.get("Location", "")))
        scheme = _SCHEMES.get(there.scheme) if there.port != 0 else None
    except (LookupError, ValueError):
        scheme = None
    if scheme is None or not there.hostname:
        raise UnreachableError(f"redirected by {answer.status_code} to nowhere")
    if here.scheme == "wss" and scheme == "ws":
        raise UnreachableError("redirected to a connection without TLS")
    return urlunsplit((scheme, there.netloc.rpartition("@")[2], there.path, here.query, ""))


async def _judged(url: str, guard: Callable[[str, int], Awaitable[Sequence[str]]]) -> str:
    """The address at which a redirect's target may be connected to."""
    try:
        return (await guard(*_place(url)))[0]
    except OSError as error:
        raise UnreachableError(f"redirect refused: {error}") from None


def _place(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "wss" else 80)


def _refused(answer: Response) -> RefusedError:
    try:
        retry_after = answer.headers.get("Retry-After")
    except LookupError:  # sent more than once
        retry_after = None
    return RefusedError(answer.status_code, bytes(answer.body or b"")[:4096], retry_after)


def _total(error: PayloadTooBig) -> int | None:
    if error.size is None:
        return None
    return error.size + (error.current_size or 0)


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:200]
