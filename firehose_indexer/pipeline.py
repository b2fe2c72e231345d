"""The way through the house: stream → repo → records → store, joined by bounded queues (design §1).

Only the filling loop stands here; what an event means is decided in ``apply``.
"""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple

from firehose_indexer.apply import Applier
from firehose_indexer.store.batch import Batch
from firehose_indexer.store.chains import Chains
from firehose_indexer.store.lane import Lane
from firehose_indexer.stream.events import Account, Commit, Identity, Item, Sync
from firehose_indexer.stream.source import Source

SLICE = 100
"""Events handled before the loop turns: a few milliseconds, so that sockets and timers stay served."""


class Limits(NamedTuple):
    """When a batch closes: whichever comes first."""

    ops: int
    bytes: int
    seconds: float


class Pipeline:
    """``deliver`` is what a session calls; when the lane is behind it waits, and so does the socket."""

    def __init__(self, chains: Chains, applier: Applier, lane: Lane, limits: Limits) -> None:
        self._chains = chains
        self._applier = applier
        self._lane = lane
        self._limits = limits
        self._filling = asyncio.Lock()
        self._opened = asyncio.Event()
        self._batch: Batch | None = None
        self._closes = 0.0

    async def deliver(self, source: Source, items: list[Item]) -> None:
        """Takes items in stream order; returns when they are in a batch, not when that is written."""
        async with self._filling:
            if self._batch is not None and self._batch.source != source:
                await self._submit()
            await self._chains.load(accounts_of(items))
            for start in range(0, len(items), SLICE):
                await self._fill(source, items[start : start + SLICE])
                await asyncio.sleep(0)

    async def run(self) -> None:
        """Submits what has waited its time at a stream too slow to fill a batch. Runs until cancelled."""
        while True:
            await self._opened.wait()
            await asyncio.sleep(max(0.0, self._closes - time.monotonic()))
            async with self._filling:
                if self._batch is not None and time.monotonic() >= self._closes:
                    await self._submit()

    async def finish(self) -> None:
        """Submits what is left and ends the lane. Nothing may be delivered afterwards."""
        async with self._filling:
            await self._submit()
        await self._lane.close()

    async def _fill(self, source: Source, items: list[Item]) -> None:
        limits, take = self._limits, self._applier.take
        self._applier.tick()
        for item in items:
            if self._batch is None:
                self._batch = Batch(source)
                self._closes = time.monotonic() + limits.seconds
                self._opened.set()
            batch = self._batch
            take(batch, item)
            if batch.ops >= limits.ops or batch.events >= limits.ops or batch.bytes >= limits.bytes:
                await self._submit()

    async def _submit(self) -> None:
        batch, self._batch = self._batch, None
        self._opened.clear()
        if batch is not None and not batch.empty:
            await self._lane.submit(batch)


def accounts_of(items: list[Item]) -> list[str]:
    return [item.did for item in items if isinstance(item, Commit | Sync | Identity | Account)]
