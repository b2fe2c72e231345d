"""How a process is told to stop (spec/services (m)): asked once it drains, asked twice it leaves."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_DEADLINE = 1
EXIT_SECOND_SIGNAL = 130


def _leave(code: int) -> None:
    sys.stderr.flush()
    os._exit(code)


def _ignore() -> None:
    """A signal that nobody registered for."""


class Shutdown:
    """The wish to stop: awaited by whoever must drain.

    The first request starts a deadline of ``seconds``; past it the process ends with 1. A second
    signal ends it at once with 130. Neither loses anything: the watermark says where to go on.
    """

    def __init__(self, seconds: float, *, leave: Callable[[int], None] = _leave) -> None:
        self.seconds = seconds
        self.reason = ""
        self._leave = leave
        self._asked = asyncio.Event()
        self._deadline: threading.Timer | None = None
        self._handlers: dict[int, Callable[[], None]] = {}

    @property
    def requested(self) -> bool:
        return self._asked.is_set()

    async def wait(self) -> None:
        """Until somebody asks."""
        await self._asked.wait()

    def request(self, reason: str) -> None:
        """Ask for a drained exit. Asking again changes nothing. Call from the event loop's thread."""
        if self.requested:
            return
        self.reason = reason
        self._asked.set()
        # A thread, not a timer of the loop: a loop that hangs must not outlive the deadline.
        self._deadline = threading.Timer(self.seconds, self._leave, [EXIT_DEADLINE])
        self._deadline.daemon = True
        self._deadline.start()

    def on(self, signum: signal.Signals, handler: Callable[[], None]) -> None:
        """Call ``handler`` in the event loop at this signal, while ``listening``."""
        self._handlers[signum] = handler

    @contextmanager
    def listening(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        """Obey SIGTERM, SIGINT and what ``on`` registered; cancels the deadline at the end."""

        def heard(signum: int, _: FrameType | None) -> None:
            if signum not in (signal.SIGTERM, signal.SIGINT):
                loop.call_soon_threadsafe(self._handlers.get(signum, _ignore))
            elif self.reason:
                self._leave(EXIT_SECOND_SIGNAL)
            else:
                # Set here already: the second signal may come before the loop turns.
                self.reason = signal.Signals(signum).name
                loop.call_soon_threadsafe(self.request, self.reason)

        signals = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
        before = {signum: signal.signal(signum, heard) for signum in signals}
        try:
            yield
        finally:
            if self._deadline is not None:
                self._deadline.cancel()
            for signum, handler in before.items():
                signal.signal(signum, handler)
