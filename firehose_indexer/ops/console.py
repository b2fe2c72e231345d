"""What a person sees of a running job: the steps of its start, then one live line (style C.2).

On a terminal the live line is rewritten in place once a second and log lines pass above it; else it
becomes one log line per 30 s. All of it goes to stderr: stdout is for data.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from structlog.typing import FilteringBoundLogger

from firehose_indexer.log import Stream

LIVE_SECONDS = 1.0
LOG_SECONDS = 30.0
_NAME_WIDTH = 10
_TEXT_WIDTH = 66


class Pulse(NamedTuple):
    """The numbers of the live line. Lag in seconds, None while nothing was received.

    ``rows_per_second`` is None where no rows are written.
    """

    state: str
    lag: float | None
    events_per_second: float
    rows_per_second: float | None
    dropped: int
    queue_mb: float = 0.0
    seq: int | None = None


class Console:
    """A terminal's stderr, or what stands in its place. Also the stream that log lines are written to."""

    def __init__(self, stream: Stream, *, colours: bool = False, width: int = 80) -> None:
        self._stream = stream
        self._colours = colours
        self._width = width
        self._live = ""
        self.interactive = stream.isatty()

    def title(self, text: str) -> None:
        """The first line. Like steps, for people only: without a terminal the log tells the same."""
        if self.interactive:
            self.write(f"  {self._bold(text)}\n")

    def step(self, name: str, text: str, seconds: float | None = None) -> None:
        """One finished step of the start and how long it took."""
        if not self.interactive:
            return
        took = f"{seconds:8.1f} s" if seconds is not None else ""
        self.write(f"  {name:<{_NAME_WIDTH}} {text:<{_TEXT_WIDTH}}{took}".rstrip() + "\n")

    def say(self, text: str) -> None:
        """One line for whoever reads stderr, terminal or not."""
        self.write(f"  {text}\n")

    async def follow(self, pulse: Callable[[], Pulse], logger: FilteringBoundLogger) -> None:
        """Show the pulse until cancelled: in place on a terminal, as ``stream.rate`` lines else."""
        try:
            while True:
                await asyncio.sleep(LIVE_SECONDS if self.interactive else LOG_SECONDS)
                if self.interactive:
                    self._draw(live_line(pulse()))
                else:
                    _log_pulse(pulse(), logger)
        finally:
            self._draw("")

    def write(self, text: str) -> None:
        """Write above the live line."""
        if self._live:
            self._stream.write(f"\r\x1b[K{text}{self._live}")
        else:
            self._stream.write(text)
        self._stream.flush()

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return self.interactive

    def _draw(self, line: str) -> None:
        if not self.interactive or not (line or self._live):
            return
        self._live = line[: self._width - 1]
        self._stream.write(f"\r\x1b[K{self._live}")
        self._stream.flush()

    def _bold(self, text: str) -> str:
        return f"\x1b[1m{text}\x1b[0m" if self._colours else text


def live_line(pulse: Pulse) -> str:
    lag = "?" if pulse.lag is None else duration(pulse.lag)
    rows = "" if pulse.rows_per_second is None else f"{pulse.rows_per_second:,.0f} rows/s   "
    return (
        f"  {pulse.state}   lag {lag}   {pulse.events_per_second:,.0f} events/s   "
        f"{rows}dropped {pulse.dropped:,}   Ctrl-C stops"
    )


def duration(seconds: float) -> str:
    """``0.4 s`` below two minutes, else ``00:41:12``, with days in front when there are any."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    clock = f"{hours:02}:{minutes:02}:{rest:02}"
    return f"{days} d {clock}" if days else clock


def _log_pulse(pulse: Pulse, logger: FilteringBoundLogger) -> None:
    logger.info(
        "stream.rate",
        state=pulse.state,
        lag_seconds=None if pulse.lag is None else round(pulse.lag, 1),
        events_per_second=round(pulse.events_per_second, 1),
        rows_per_second=None if pulse.rows_per_second is None else round(pulse.rows_per_second, 1),
        dropped=pulse.dropped,
        queue_mb=round(pulse.queue_mb, 1),
        seq=pulse.seq,
    )
