"""A stream that never ends: connect, read, deliver in order, and connect again (spec/protocol §3, §4)."""

from __future__ import annotations

import asyncio
import random
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal, Protocol

import structlog

from firehose_indexer.errors import RelayRefused
from firehose_indexer.stream.clocks import Backoff, StallWatch, TrickleWatch
from firehose_indexer.stream.endings import (
    CLEAN_CODES,
    REFUSED_FOR_GOOD,
    Ended,
    Stop,
    close_label,
    error_in_body,
    retry_after_seconds,
    status_label,
)
from firehose_indexer.stream.events import Gap
from firehose_indexer.stream.intake import Intake, Position
from firehose_indexer.stream.status import SessionStatus, no_backlog
from firehose_indexer.stream.transport import (
    MARGIN,
    ClosedError,
    Connection,
    RefusedError,
    UnreachableError,
    opened,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from firehose_indexer.stream.intake import Taken
    from firehose_indexer.stream.source import Source
    from firehose_indexer.stream.status import Deliver, StreamMetrics, Tap
    from firehose_indexer.stream.transport import Dialing

FAILOVER_AFTER: Final = 3
"""Attempts running without data before the next of several sources is tried."""
RETRY_REFUSED: Final = 300.0
FUTURE_AGAIN: Final = 3600.0
LARGEST_MESSAGE: Final = 64 * 1024 * 1024


class Clock(Protocol):
    """Time as the session sees it."""

    def monotonic(self) -> float: ...
    def busy(self) -> float: ...
    def now(self) -> datetime: ...
    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The machine's time. ``busy`` is CPU seconds of this process."""

    monotonic = staticmethod(time.monotonic)
    busy = staticmethod(time.process_time)

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class _Feed:
    """One source, and what is remembered of it between its connections."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.intake = Intake()
        self.stall = StallWatch()
        self.max_message = 0
        self.disowned: range | None = None
        self.future_at: float | None = None
        self.sampled: int | None = None

    def lag(self, now: datetime) -> float | None:
        """Seconds behind of the newest event since last asked; None without one or without a usable time."""
        last, self.sampled = self.sampled, self.intake.last
        if self.intake.last == last or self.intake.event_time is None:
            return None
        try:
            return now.timestamp() - datetime.fromisoformat(self.intake.event_time).timestamp()
        except (ValueError, OverflowError):
            return None


class Session:
    """One relay, or several in order of failover, as one endless ordered delivery.

    ``position`` reads what is committed for a source and is asked again before every attempt;
    ``other_position`` answers, for a source without one, with that of another host, if any: then a
    ``relay_switch`` gap opens. ``deliver`` may take its time: meanwhile at most ``dialing.queue_bytes``
    are read ahead, and no clock runs against the relay.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        dialing: Dialing,
        metrics: StreamMetrics,
        *,
        position: Callable[[Source], Awaitable[Position | None]],
        other_position: Callable[[Source], Awaitable[Position | None]],
        cursor_start: Literal["live", "oldest"] = "live",
        future_cursor: Literal["halt", "live", "oldest"] = "halt",
        recorder: Tap | None = None,
        clock: Clock | None = None,
        uniform: Callable[[float, float], float] = random.uniform,
        tick: float = 1.0,
    ) -> None:
        self._sources = [_Feed(source) for source in sources]
        self._at = 0
        self._dialing = dialing
        self._metrics = metrics
        self._position = position
        self._other_position = other_position
        self._cursor_start = cursor_start
        self._future_cursor = future_cursor
        self._recorder = recorder
        self._clock = clock or SystemClock()
        self._backoff = Backoff(uniform)
        self._tick = tick
        self._trickle = TrickleWatch()
        self._ever_connected = False
        self._barren = 0
        self._log = structlog.get_logger()
        self.status = SessionStatus(sources[0])

    async def run(self, deliver: Deliver) -> None:
        """Deliver until cancelled. Raises RelayRefused, and whatever ``deliver`` or ``position`` raise."""
        while True:
            feed = self._sources[self._at]
            self.status.source = feed.source
            self.status.state = "connecting"
            try:
                ended = await self._attempt(feed, deliver)
            finally:
                self.status.state = "connecting"
                self.status.backlog_bytes = no_backlog
            self._metrics.reconnect(feed.source.host, ended.reason)
            self.status.reconnects += 1
            self.status.last_error = f"{ended.reason}: {ended.detail}" if ended.detail else ended.reason
            self._barren = 0 if ended.delivered else self._barren + 1
            backoff = self._backoff.after(lasted=ended.lasted, delivered=ended.delivered, clean=ended.clean)
            wait = backoff if ended.wait is None else ended.wait
            if len(self._sources) > 1 and self._barren >= FAILOVER_AFTER:
                self._at = (self._at + 1) % len(self._sources)
                self._barren = 0
                wait = backoff
            self._log.warning(
                "relay.lost", source=feed.source.host, reason=ended.reason, detail=ended.detail, wait=wait
            )
            await self._clock.sleep(wait)

    async def _attempt(self, feed: _Feed, deliver: Deliver) -> Ended:
        cursor = await self._begin(feed)
        dialing = self._dialing._replace(max_message=max(self._dialing.max_message, feed.max_message))
        try:
            async with opened(feed.source.at(cursor), dialing) as connection:
                self._ever_connected = True
                self.status.backlog_bytes = lambda: connection.backlog_bytes
                self._log.info("relay.connected", source=feed.source.host, cursor=cursor)
                return await self._flow(feed, connection, cursor, deliver)
        except RefusedError as error:
            return self._refused(feed, error, cursor)
        except UnreachableError as error:
            return Ended("unreachable", str(error))

    async def _begin(self, feed: _Feed) -> int | None:
        """Tell the intake where we stand, and choose the cursor."""
        position = await self._position(feed.source)
        last = feed.intake.last
        if position is not None and feed.disowned and position.watermark in feed.disowned:
            position = None
        elif position is not None:
            feed.disowned = None
        if position is None and last is not None:
            # Handed over but not committed: a process that dies now has promised nothing.
            position = Position(last, None)
        if position is not None:
            feed.intake.connected(position)
            return position.watermark
        if feed.disowned is not None:
            pending = Gap("future_cursor", None, None, None, None, f"cursor was {feed.disowned.start}")
            feed.intake.connected(None, pending)
            return 0 if self._future_cursor == "oldest" else None
        other = await self._other_position(feed.source)
        if other is not None:
            since = other.event_time.isoformat() if other.event_time else None
            feed.intake.connected(None, Gap("relay_switch", None, None, since, None, feed.source.host))
            return None
        feed.intake.connected(None)
        return 0 if self._cursor_start == "oldest" else None

    async def _flow(
        self,
        feed: _Feed,
        connection: Connection,
        cursor: int | None,
        deliver: Deliver,
    ) -> Ended:
        clock, stall = self._clock, feed.stall
        began = clock.monotonic()
        delivered = False
        stall.began(began)
        self._trickle.began(began, clock.busy())
        self.status.state = "quiet" if stall.quiet else "live"

        def ended(reason: str, detail: str = "", *, clean: bool = False) -> Ended:
            return Ended(reason, detail, None, clean, clock.monotonic() - began, delivered)

        while True:
            try:
                messages = await connection.receive(self._tick)
            except ClosedError as closed:
                if closed.oversize is not None:
                    stop = await self._oversize(feed, closed.oversize[0], deliver)
                    return ended(stop.reason, stop.detail)
                if closed.pong_timeout:
                    return ended("pong_timeout")
                return ended(close_label(closed.code), closed.detail[:200], clean=closed.code in CLEAN_CODES)
            now = clock.monotonic()
            if messages:
                delivered = True
                self.status.state = "live"
                stall.data(len(messages), now)
                if self._recorder is not None:
                    self._recorder.tap(messages)
                taken = feed.intake.take(messages)
                await self._hand_over(feed, taken, deliver)
                if taken.stop is not None:
                    connection.close_code = taken.stop.code
                    self._stopped(feed, taken.stop, cursor)
                    return ended(taken.stop.reason, taken.stop.error or taken.stop.detail)
                after = clock.monotonic()
                stall.began(after)
                self._trickle.worked(after - now)
            elif stall.stalled(now):
                return ended("stalled", f"no data for {now - began:.0f} s")
            if self._trickle.due(now) and self._trickle.sample(
                now, feed.lag(clock.now()), cpu=clock.busy(), backlog=connection.backlog
            ):
                return ended("trickle")

    async def _hand_over(self, feed: _Feed, taken: Taken, deliver: Deliver) -> None:
        self._metrics.frames(taken.kinds)
        for event, detail in taken.notices:
            self._log.warning(event, source=feed.source.host, detail=detail)
        if taken.items:
            await deliver(feed.source, taken.items)
        status, intake = self.status, feed.intake
        status.last_frame = self._clock.now()
        status.received, status.event_time = intake.last, intake.event_time
        if intake.last is not None:
            self._metrics.seq(feed.source.host, intake.last)

    async def _oversize(
        self,
        feed: _Feed,
        size: int | None,
        deliver: Deliver,
    ) -> Stop:
        """The next connection reads a message of that size whole, so that it can be skipped in place."""
        limit = max(feed.max_message, self._dialing.max_message)
        feed.max_message = min(max(2 * limit, (size or 0) + MARGIN), LARGEST_MESSAGE)
        taken = feed.intake.oversize(size)
        await self._hand_over(feed, taken, deliver)
        assert taken.stop is not None
        return taken.stop

    def _refused(self, feed: _Feed, error: RefusedError, cursor: int | None) -> Ended:
        detail = f"HTTP {error.status}: {error.body[:200].decode(errors='replace')}"
        stop = error_in_body(error.status, error.body)
        if stop is not None:
            self._stopped(feed, stop, cursor)
            return Ended(stop.reason, stop.error or detail)
        wait = retry_after_seconds(error.retry_after, self._clock.now())
        if error.status in REFUSED_FOR_GOOD:
            if not self._ever_connected:
                raise RelayRefused(
                    f"relay {feed.source.url} answered HTTP {error.status}",
                    hint="check RELAY_URL: this server does not stream repositories to us",
                )
            self._log.error("relay.refused", source=feed.source.host, status=error.status)
            wait = RETRY_REFUSED
        return Ended(status_label(error.status), detail, wait)

    def _stopped(self, feed: _Feed, stop: Stop, cursor: int | None) -> None:
        """What an error of the stream changes for the next attempt. Raises RelayRefused."""
        if stop.reason == "consumer_too_slow":
            self.status.too_slow.append(self._clock.monotonic())
        if stop.reason != "future_cursor" or cursor is None:
            return
        now = self._clock.monotonic()
        again = feed.future_at is not None and now - feed.future_at < FUTURE_AGAIN
        if self._future_cursor == "halt" or again:
            raise RelayRefused(
                f"relay {feed.source.url} says our cursor {cursor} is in the future\n"
                "  The cursor belongs to another relay, or the relay was reset.",
                hint="firehose-indexer cursor show    then    firehose-indexer run --future-cursor live",
            )
        # What is still on its way to the database belongs to the old sequence as well.
        feed.disowned = range(cursor, max(cursor, feed.intake.last or 0) + 1)
        feed.future_at = now
        feed.intake.forget()
