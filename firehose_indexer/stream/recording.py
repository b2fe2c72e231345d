"""Frames in a file: read them back, replay them as a stream (spec/services j).

The layout is ``uint32 big-endian length ‖ frame``, repeated, usually inside one zstd stream.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog
import zstandard

from firehose_indexer.errors import ConfigError
from firehose_indexer.stream.intake import Intake
from firehose_indexer.stream.source import Source
from firehose_indexer.stream.status import SessionStatus

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from io import BufferedReader

    from firehose_indexer.stream.intake import Position
    from firehose_indexer.stream.status import Deliver, StreamMetrics

SUFFIX: Final = ".frames.zst"
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_LONGEST: Final = 64 * 1024 * 1024
"""A length beyond this is damage: no transport reads so large a message."""
_CHUNK: Final = 16 * 1024
_BATCH: Final = 256
_LONGEST_WAIT: Final = 60.0


class Cut(NamedTuple):
    """Where a recording ends too early: whole frames before, and the byte of the uncompressed layout."""

    frames: int
    offset: int
    why: str


def read_frames(path: Path | str, on_cut: Callable[[Cut], None] | None = None) -> Iterator[bytes]:
    """Every whole frame of a recording, plain or zstd, in order.

    A file that was cut, or damaged towards its end, gives what is whole and then calls ``on_cut``
    (without one: a warning in the log). Raises ConfigError when the file cannot be opened.
    """
    buffer, offset, frames = bytearray(), 0, 0
    why = ""
    try:
        for chunk in _content(Path(path)):
            buffer += chunk
            start = 0
            while len(buffer) - start >= 4:
                end = start + 4 + int.from_bytes(buffer[start : start + 4], "big")
                if end - start > _LONGEST:
                    raise _DamagedError("a length beyond reason")
                if end > len(buffer):
                    break
                yield bytes(buffer[start + 4 : end])
                frames += 1
                offset += end - start
                start = end
            del buffer[:start]
    except _DamagedError as error:
        why = str(error)
    if buffer or why:
        cut = Cut(frames, offset, why or "inside a frame")
        if on_cut is not None:
            on_cut(cut)
        else:
            structlog.get_logger().warning("recording.cut", path=str(path), **cut._asdict())


def sha256_of(path: Path | str) -> str:
    """The digest of the file as it lies there, as ``sha256sum`` prints it. Raises ConfigError."""
    with _open(Path(path)) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class ReplaySession:
    """A recording run as if it were a relay; ends after its last frame.

    ``speed`` is a factor of real time taken from the messages' own times; None means as fast as
    possible. ``source`` is ``file:<sha256>`` and has a cursor of its own.
    """

    def __init__(
        self,
        path: Path | str,
        speed: float | None = None,
        *,
        position: Callable[[Source], Awaitable[Position | None]] | None = None,
        metrics: StreamMetrics | None = None,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        if speed is not None and speed <= 0:
            raise ConfigError(f"a replay cannot run at speed {speed}", hint="--speed 1, 10 or max")
        self.path = Path(path)
        self.source = Source(f"file:{sha256_of(path)}", str(path))
        self.status = SessionStatus(self.source)
        self.cut: Cut | None = None
        self._pace = None if speed is None else _Pace(speed, now, sleep)
        self._position = position
        self._metrics = metrics
        self._intake = Intake()

    async def run(self, deliver: Deliver) -> None:
        """Deliver every event of the file in order. Raises what ``deliver`` raises."""
        position = await self._position(self.source) if self._position else None
        self._intake.connected(position)
        self.status.state = "live"
        batch: list[bytes] = []
        for frame in read_frames(self.path, self._on_cut):
            batch.append(frame)
            if self._pace is not None or len(batch) == _BATCH:
                await self._deliver(batch, position, deliver)
                batch = []
        await self._deliver(batch, position, deliver)
        self.status.state = "closed"

    async def _deliver(
        self,
        batch: list[bytes],
        position: Position | None,
        deliver: Deliver,
    ) -> None:
        log = structlog.get_logger()
        while batch:
            taken = self._intake.take(batch)
            batch = batch[taken.used :]
            if self._metrics:
                self._metrics.frames(taken.kinds)
            if self._pace is not None and taken.items:
                await self._pace.wait(self._intake.event_time)
            if taken.items:
                await deliver(self.source, taken.items)
            if taken.stop is not None:
                # Where a socket would be opened again, the file simply goes on.
                log.info("replay.resumed", reason=taken.stop.reason, detail=taken.stop.detail)
                self._intake.connected(position)
        self.status.received = self._intake.last
        self.status.event_time = self._intake.event_time

    def _on_cut(self, cut: Cut) -> None:
        self.cut = cut
        self.status.last_error = f"cut after {cut.frames} frames"
        structlog.get_logger().warning("recording.cut", path=str(self.path), **cut._asdict())


class _Pace:
    """Holds messages back until their own clock, times ``speed``, has come."""

    def __init__(
        self, speed: float, now: Callable[[], float], sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        self._speed = speed
        self._now = now
        self._sleep = sleep
        self._started: tuple[float, float] | None = None

    async def wait(self, event_time: str | None) -> None:
        try:
            then = datetime.fromisoformat(event_time or "").timestamp()
        except (ValueError, OverflowError):
            return
        if self._started is None:
            self._started = (self._now(), then)
        started, first = self._started
        # A time far ahead is the sender's fault and must not hold the replay for ever.
        delay = min(started + (then - first) / self._speed - self._now(), _LONGEST_WAIT)
        if delay > 0:
            await self._sleep(delay)


class _DamagedError(Exception):
    """The content ends here, and should not."""


def _open(path: Path) -> BufferedReader:
    try:
        return path.open("rb")
    except OSError as error:
        raise ConfigError(f"cannot read the recording {path}: {error.strerror}") from None


def _content(path: Path) -> Iterator[bytes]:
    """The uncompressed bytes in pieces. Raises _DamagedError where a zstd stream breaks off."""
    with _open(path) as file:
        chunk = file.read(_CHUNK)
        if not chunk.startswith(_ZSTD_MAGIC):
            while chunk:
                yield chunk
                chunk = file.read(_CHUNK)
            return
        inflater = zstandard.ZstdDecompressor().decompressobj()
        while chunk:
            if inflater.eof:
                inflater = zstandard.ZstdDecompressor().decompressobj()
            try:
                yield inflater.decompress(chunk)
            except zstandard.ZstdError as error:
                raise _DamagedError(f"zstd: {error}") from None
            chunk = inflater.unused_data or file.read(_CHUNK)
        if not inflater.eof:
            raise _DamagedError("the compressed stream does not end")
