"""A relay's frames on disk, as they came: beside a running indexer, or as the whole job (spec/services (j))."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from firehose_indexer.config import Settings
from firehose_indexer.door import door
from firehose_indexer.errors import ConfigError
from firehose_indexer.log import Log
from firehose_indexer.metrics import Metrics
from firehose_indexer.ops.console import Console, Pulse
from firehose_indexer.ops.stage import Stage
from firehose_indexer.rate import Rate
from firehose_indexer.shutdown import Shutdown
from firehose_indexer.stream.events import Item
from firehose_indexer.stream.intake import Position
from firehose_indexer.stream.recorder import Recorder
from firehose_indexer.stream.recording import SUFFIX
from firehose_indexer.stream.session import Session
from firehose_indexer.stream.source import Source, parse_source
from firehose_indexer.stream.status import SessionStatus
from firehose_indexer.stream.transport import Dialing
from firehose_indexer.version import user_agent, version

LOOK_SECONDS = 0.2


async def record(
    settings: Settings,
    path: Path,
    *,
    seconds: float | None,
    frames: int | None,
    console: Console,
    log: Log,
    shutdown: Shutdown,
) -> None:
    """Save a relay's frames until there are ``frames``, ``seconds`` are over, or asked to stop.

    Needs no database. Raises ConfigError when the file cannot be written or the disk refuses to go on.
    """
    sources = sources_of(settings)
    metrics = Metrics()
    quota = _Quota(frames, shutdown)
    recorder = Recorder(
        path, sources[0], metrics, version=version(), max_bytes=settings.record_max_mb << 20, keep=quota
    )
    session = Session(
        sources,
        dialing(settings, metrics),
        metrics,
        position=_nowhere,
        other_position=_nowhere,
        cursor_start=settings.cursor_start,  # type: ignore[arg-type]
        recorder=recorder,
    )
    async with recording(recorder), asyncio.TaskGroup() as tasks:
        running = [
            tasks.create_task(session.run(quota.drop), name="stream"),
            tasks.create_task(unreachable(session.status, Stage(console, log, shutdown)), name="unreachable"),
            tasks.create_task(_disk(recorder, path), name="disk"),
            tasks.create_task(
                console.follow(lambda: quota.pulse(session.status), log.logger), name="console"
            ),
        ]
        await _asked(shutdown, seconds)
        for task in running:
            task.cancel()
    console.say(f"recorded {recorder.frames:,} frames in {path}, dropped {recorder.dropped:,}")


class _Quota:
    """Keeps the first ``frames`` messages, or all, and then asks to stop."""

    def __init__(self, frames: int | None, shutdown: Shutdown) -> None:
        self._left = frames
        self._shutdown = shutdown
        self._rate = Rate()

    def __call__(self, _message: bytes) -> bool:
        if self._left is None:
            return True
        if self._left == 0:
            return False
        self._left -= 1
        if self._left == 0:
            self._shutdown.request("frames")
        return True

    async def drop(self, _source: Source, items: list[Item]) -> None:
        """The frames are on their way to disk already; what is in them is not asked."""
        self._rate.add(len(items))

    def pulse(self, status: SessionStatus) -> Pulse:
        return Pulse(status.state, None, self._rate.per_second(5), None, 0, seq=status.received)


def recorder_into(settings: Settings, source: Source, metrics: Metrics) -> Recorder | None:
    """The recorder of RECORD_DIR, if that is set; the file is named for the source and the moment."""
    if settings.record_dir is None:
        return None
    host = re.sub(r"[^a-z0-9.]+", "-", source.host).strip("-")
    path = settings.record_dir / f"{host}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}{SUFFIX}"
    return Recorder(path, source, metrics, version=version(), max_bytes=settings.record_max_mb << 20)


@asynccontextmanager
async def recording(recorder: Recorder) -> AsyncIterator[None]:
    """Record while the block runs. Raises ConfigError when the file cannot be made."""
    recorder.__enter__()
    try:
        yield
    finally:
        await asyncio.to_thread(recorder.close)


async def unreachable(status: SessionStatus, stage: Stage) -> None:
    """Says once, to people, that the relay cannot be reached from the start; the log has every attempt."""
    while not status.connected and not status.reconnects:  # noqa: ASYNC110 (a plain record, which tells nobody)
        await asyncio.sleep(LOOK_SECONDS)
    if status.connected or status.received is not None or not stage.console.interactive:
        return
    stage.console.say(f"cannot reach {status.source.host}, trying again: {status.last_error}")
    stage.console.say("Try: firehose-indexer doctor   or   make demo (no network needed)")


def sources_of(settings: Settings) -> list[Source]:
    """RELAY_URL as sources. Raises ConfigError."""
    return [parse_source(text, allow_insecure=settings.stream_allow_insecure) for text in settings.relay_url]


def dialing(settings: Settings, metrics: Metrics) -> Dialing:
    """How a relay is connected to.

    Its operator chose RELAY_URL, which may well be private; where the relay redirects us a stranger chose.
    """
    return Dialing(
        user_agent=user_agent(),
        queue_bytes=settings.stream_queue_mb << 20,
        guard=door(settings, metrics).addresses,
    )


async def _asked(shutdown: Shutdown, seconds: float | None) -> None:
    try:
        async with asyncio.timeout(seconds):
            await shutdown.wait()
    except TimeoutError:
        return


async def _disk(recorder: Recorder, path: Path) -> None:
    """A recording that cannot go on is the end of a job that does nothing else."""
    while not recorder.failed:  # noqa: ASYNC110 (set by a thread)
        await asyncio.sleep(LOOK_SECONDS)
    raise ConfigError(f"cannot go on writing {path}", hint="look at the disk; what came so far is in *.part")


async def _nowhere(_source: Source) -> Position | None:
    return None
