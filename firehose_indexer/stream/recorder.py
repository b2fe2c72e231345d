"""Writes a stream to disk as received (spec/services j). Its thread owns the file; the stream never waits."""

from __future__ import annotations

import json
import os
import threading
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import structlog
import zstandard

from firehose_indexer.errors import ConfigError, FrameError
from firehose_indexer.stream.frames import parse
from firehose_indexer.stream.recording import SUFFIX, sha256_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from firehose_indexer.stream.source import Source
    from firehose_indexer.stream.status import RecorderMetrics

BUFFER_BYTES: Final = 16 * 1024 * 1024
_FLUSH_SECONDS: Final = 1.0


class Recorder:
    """A tap that records every binary message, or those ``keep`` accepts.

    Where the disk cannot follow, frames are left out of the recording and counted. A file grows to
    ``max_bytes`` on disk, then the next one begins: ``name.frames.zst``, ``name.0001.frames.zst``, ….
    Each carries ``.part`` until it is whole, and gets a ``.json`` beside it after that. Enter it to start
    the thread; raises ConfigError when ``path`` cannot be written or exists.
    """

    def __init__(
        self,
        path: Path,
        source: Source,
        metrics: RecorderMetrics,
        *,
        version: str,
        max_bytes: int,
        keep: Callable[[bytes], bool] | None = None,
        buffer_bytes: int = BUFFER_BYTES,
    ) -> None:
        if not path.name.endswith(SUFFIX):
            raise ConfigError(f"a recording is named *{SUFFIX}", hint=f"{path}{SUFFIX}")
        self._path = path
        self._source = source
        self._metrics = metrics
        self._version = version
        self._max_bytes = max_bytes
        self._keep = keep
        self._buffer_bytes = buffer_bytes
        self._waiting: deque[bytes] = deque()
        self._held = 0
        self._change = threading.Condition()
        self._closing = False
        self.failed = False
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._file: _File | None = None
        self._number = 0
        self.frames = 0
        self.dropped = 0

    def tap(self, messages: Sequence[bytes | str], /) -> None:
        """Take a copy of what arrived. Never waits for the disk."""
        lost = 0
        with self._change:
            for message in messages:
                if isinstance(message, str) or (self._keep is not None and not self._keep(message)):
                    continue
                if self.failed or self._held + len(message) > self._buffer_bytes:
                    lost += 1
                    continue
                self._waiting.append(message)
                self._held += len(message)
            self.dropped += lost
            self._change.notify()
        if lost:
            self._metrics.recorder_dropped(lost)

    def __enter__(self) -> Self:
        self._file = _File(self._path, self._source, self._version)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Write what waits and finish the file. Blocks for as long as the disk takes."""
        with self._change:
            self._closing = True
            self._change.notify()
        self._thread.join()

    def _run(self) -> None:
        try:
            while batch := self._next():
                self._write(batch)
            if self._file is not None:
                self._file.finish(self.dropped)
        except (OSError, ConfigError) as error:
            # A full disk ends the recording, not the stream; the file keeps its .part.
            with self._change:
                self.failed = True
                lost = len(self._waiting)
                self._waiting.clear()
                self.dropped += lost
            self._metrics.recorder_dropped(lost)
            if self._file is not None:
                self._file.abandon()
            structlog.get_logger().error("recording.failed", path=str(self._path), error=str(error))

    def _next(self) -> list[bytes]:
        """What has gathered, or nothing when closing."""
        with self._change:
            while not self._waiting and not self._closing:
                if not self._change.wait(_FLUSH_SECONDS) and self._file is not None:
                    self._file.flush()
            batch = list(self._waiting)
            self._waiting.clear()
            self._held = 0
            return batch

    def _write(self, batch: list[bytes]) -> None:
        for frame in batch:
            if self._file is None:
                self._file = _File(self._following(), self._source, self._version)
            self._file.write(frame)
            self.frames += 1
            if self._file.size >= self._max_bytes:
                self._file.finish(self.dropped)
                self._number += 1
                self._file = None
        self._metrics.recorded(len(batch))

    def _following(self) -> Path:
        stem = self._path.name.removesuffix(SUFFIX)
        return self._path.with_name(f"{stem}.{self._number:04d}{SUFFIX}")


class _File:
    """One recording in the making."""

    def __init__(self, path: Path, source: Source, version: str) -> None:
        self._path = path
        self._part = path.with_name(path.name + ".part")
        if path.exists():
            raise ConfigError(f"the recording {path} exists", hint="choose another name, or move it away")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._disk = self._part.open("wb")
        except OSError as error:
            raise ConfigError(f"cannot write the recording {path}: {error.strerror}") from None
        self._zstd = zstandard.ZstdCompressor(level=3, write_checksum=True).stream_writer(
            self._disk, closefd=False
        )
        self._about: dict[str, Any] = {
            "source": source.host,
            "endpoint": source.endpoint,
            "started": _now(),
            "ended": None,
            "first_seq": None,
            "last_seq": None,
            "frames": 0,
            "bytes": 0,
            "dropped": 0,
            "sha256": None,
            "version": version,
        }
        self._unflushed = False

    @property
    def size(self) -> int:
        """Bytes on disk so far."""
        return self._disk.tell()

    def write(self, frame: bytes) -> None:
        self._zstd.write(len(frame).to_bytes(4, "big") + frame)
        about = self._about
        about["frames"] += 1
        about["bytes"] += 4 + len(frame)
        seq = _seq(frame)
        if seq is not None:
            about["first_seq"] = about["first_seq"] or seq
            about["last_seq"] = seq
        self._unflushed = True

    def flush(self) -> None:
        """Put what is written within a crash's reach: only the tail after the last flush is lost."""
        if self._unflushed:
            self._zstd.flush(zstandard.FLUSH_BLOCK)
            self._disk.flush()
            self._unflushed = False

    def abandon(self) -> None:
        """Leave the file as far as it came, under its ``.part`` name."""
        with suppress(OSError):
            self._disk.close()

    def finish(self, dropped: int) -> None:
        """End the stream, take off ``.part``, and say beside it what the file holds."""
        self._zstd.flush(zstandard.FLUSH_FRAME)
        self._disk.flush()
        os.fsync(self._disk.fileno())
        self._disk.close()
        self._part.rename(self._path)
        self._about |= {"ended": _now(), "dropped": dropped, "sha256": sha256_of(self._path)}
        beside = self._path.with_name(self._path.name.removesuffix(SUFFIX) + ".json")
        part = beside.with_name(beside.name + ".part")
        part.write_text(json.dumps(self._about, indent=2) + "\n", encoding="utf-8")
        part.rename(beside)


def _seq(frame: bytes) -> int | None:
    with suppress(FrameError):
        return getattr(parse(frame), "seq", None)
    return None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
