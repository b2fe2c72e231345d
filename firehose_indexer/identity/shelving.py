"""Findings on their way to the shelf: gathered, then written set by set."""

from __future__ import annotations

import asyncio
from typing import Final

from firehose_indexer.identity.cache import Finding, Shelf
from firehose_indexer.identity.outcome import Outcome

GATHER_SECONDS: Final = 0.2
AT_ONCE: Final = 1_000
WAITING: Final = 50_000
FAREWELL_SECONDS: Final = 5.0


class Shelving:
    """Holds at most 50,000 findings while the database is away; then the oldest go, and are asked for again."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.dropped = 0
        self._waiting: dict[str, Finding] = {}
        self._news = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def put(self, finding: Finding) -> None:
        """Keep it soon. A failure is not worth keeping."""
        if finding.outcome is Outcome.failed:
            return
        self._waiting.pop(finding.did, None)
        self._waiting[finding.did] = finding
        if len(self._waiting) > WAITING:
            del self._waiting[next(iter(self._waiting))]
            self.dropped += 1
        self._idle.clear()
        self._news.set()

    async def run(self) -> None:
        """Runs until cancelled."""
        while True:
            await self._news.wait()
            await asyncio.sleep(GATHER_SECONDS)
            self._news.clear()
            while self._waiting:
                some = list(self._waiting.values())[:AT_ONCE]
                for finding in some:
                    del self._waiting[finding.did]
                await self.shelf.save(some)
            self._idle.set()

    async def finish(self) -> None:
        """Give what is waiting a few seconds to be written."""
        try:
            async with asyncio.timeout(FAREWELL_SECONDS):
                await self._idle.wait()
        except TimeoutError:
            return  # a cache: what was not kept is asked for again

    def __len__(self) -> int:
        return len(self._waiting)
