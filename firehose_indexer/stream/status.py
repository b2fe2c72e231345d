"""What a stream says about itself, for /status and /readyz, and what it reports as it goes."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from firehose_indexer.stream.events import Item
    from firehose_indexer.stream.source import Source

Deliver = Callable[["Source", "list[Item]"], Awaitable[None]]
"""Takes items in order, and may take its time: that is the backpressure."""

State = Literal["connecting", "live", "quiet", "closed"]


def no_backlog() -> int:
    """What waits while there is no connection."""
    return 0


@dataclass
class SessionStatus:
    """The present state of one stream. ``received`` is the seq last handed over, not yet committed.

    ``event_time`` is the sender's claim and untrusted. ``last_frame`` is on our own clock. ``backlog_bytes``
    have been read from the socket and wait for their turn.
    """

    source: Source
    state: State = "connecting"
    received: int | None = None
    last_frame: datetime | None = None
    event_time: str | None = None
    reconnects: int = 0
    last_error: str = ""
    too_slow: deque[float] = field(default_factory=lambda: deque(maxlen=3))
    backlog_bytes: Callable[[], int] = no_backlog

    @property
    def connected(self) -> bool:
        return self.state in ("live", "quiet")

    def backpressure(self, now: float) -> bool:
        """Whether the relay called us too slow three times within ten minutes (monotonic seconds)."""
        return len(self.too_slow) == 3 and now - self.too_slow[0] <= 600


class StreamMetrics(Protocol):
    """What a stream counts. ``reason`` and the kinds are closed sets."""

    def frames(self, kinds: Mapping[str, int], /) -> None: ...
    def seq(self, source: str, seq: int, /) -> None: ...
    def reconnect(self, source: str, reason: str, /) -> None: ...


class RecorderMetrics(Protocol):
    """What a recorder counts, in frames."""

    def recorded(self, frames: int, /) -> None: ...
    def recorder_dropped(self, frames: int, /) -> None: ...


class Tap(Protocol):
    """Sees every binary message between socket and decoder. Must not block."""

    def tap(self, messages: Sequence[bytes | str], /) -> None: ...
