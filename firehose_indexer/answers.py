"""What comes back from a request: bounded while it is read (spec/services (a), size and time)."""

from __future__ import annotations

import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Any, Final, NamedTuple

import aiohttp

from firehose_indexer.guard import OutboundError, OutboundFailed, Refusal

_CHUNK: Final = 65_536
_CODINGS: Final = frozenset(("gzip", "x-gzip", "deflate"))


class Answer(NamedTuple):
    """``body`` is inflated; ``retry_after`` in seconds from now, if the server asked for it."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str

    @property
    def retry_after(self) -> float | None:
        return retry_after(self.headers.get("Retry-After"))


class Incoming:
    """An answer being read. Limits count inflated bytes as they come."""

    def __init__(
        self, response: aiohttp.ClientResponse, limit: int, refuse: Callable[..., Exception]
    ) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self.url = str(response.url)
        self.taken = 0
        """Bytes handed on so far, after inflating."""
        self._content = response.content
        self._length = response.content_length
        self._limit = limit
        self._refuse = refuse

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body, in pieces of at most 64 KiB. Raises OutboundRefused size as soon as it is beyond the limit."""
        coding = self.headers.get("Content-Encoding", "identity").strip().lower()
        if coding not in _CODINGS | {"identity", ""}:
            raise OutboundFailed(f"content coding {coding[:40]!r}")
        if self._length is not None and self._length > self._limit:
            raise self._refuse(Refusal.size, f"{self._length} bytes")
        async for piece in _inflated(self._content, coding) if coding in _CODINGS else _plain(self._content):
            self.taken += len(piece)
            if self.taken > self._limit:
                raise self._refuse(Refusal.size, f"more than {self._limit} bytes")
            yield piece

    async def body(self) -> bytes:
        return b"".join([piece async for piece in self.chunks()])


async def _plain(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    while True:
        with transport_errors():
            piece = await content.read(_CHUNK)
        if not piece:
            return
        yield piece


async def _inflated(content: aiohttp.StreamReader, coding: str) -> AsyncIterator[bytes]:
    """No more than 64 KiB at a time come out of however small a piece goes in."""
    zipped = zlib.decompressobj(wbits=15 if coding == "deflate" else 31)
    try:
        async for piece in _plain(content):
            rest = piece
            while rest and not zipped.eof:
                yield zipped.decompress(rest, _CHUNK)
                rest = zipped.unconsumed_tail
    except zlib.error as error:
        raise OutboundFailed(f"content coding: {error}") from error
    if not zipped.eof:
        raise OutboundFailed("compressed body cut short")


def retry_after(text: str | None) -> float | None:
    """``Retry-After`` (RFC 9110 §10.2.3) in seconds from now, never negative; None when there is no header or nobody can read it."""
    if text is None:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


@contextmanager
def transport_errors() -> Iterator[None]:
    """Whatever the HTTP library raises comes out as an OutboundError."""
    try:
        yield
    except OutboundError:
        raise
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise _explained(error) from error


def _explained(error: Exception) -> OutboundError:
    """What the guard said inside aiohttp's resolver comes out wrapped."""
    cause: Any = error
    while cause is not None:
        if isinstance(cause, OutboundError):
            return cause
        cause = cause.__cause__
    return OutboundFailed(_words(error))


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:200]
