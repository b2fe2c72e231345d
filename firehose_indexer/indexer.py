"""The way from a stream to committed rows, as running tasks (design §1, §3)."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Protocol

from firehose_indexer.apply import Applier
from firehose_indexer.config import Settings
from firehose_indexer.database import Database
from firehose_indexer.pipeline import Limits, Pipeline
from firehose_indexer.process import spare_the_collector
from firehose_indexer.server.status import CacheStatus, QueueStatus
from firehose_indexer.shutdown import Shutdown
from firehose_indexer.store.actors import Actors
from firehose_indexer.store.chains import Chains
from firehose_indexer.store.lane import Lane
from firehose_indexer.store.watermarks import Watermarks
from firehose_indexer.store.writer import Checkpoint, Writer
from firehose_indexer.stream.status import Deliver, SessionStatus
from firehose_indexer.version import version
from firehose_indexer.vitals import Vitals

CACHED_REPOS = 100_000
"""Chains and actor ids of a generation in memory: about 60 MB in all."""


class Streaming(Protocol):
    """A session or a recording."""

    status: SessionStatus

    async def run(self, deliver: Deliver) -> None: ...


async def no_checkpoint(_name: str) -> None:
    """Named points of a batch, where tests kill the process; nothing happens there in earnest."""


class Indexer:
    """Built for one database; ``follow`` runs one stream into it."""

    def __init__(
        self, settings: Settings, database: Database, vitals: Vitals, checkpoint: Checkpoint = no_checkpoint
    ) -> None:
        self.database = database
        self.vitals = vitals
        self.chains = Chains(database.pool, CACHED_REPOS)
        self.actors = Actors(CACHED_REPOS)
        self.lane = Lane(
            database.pool,
            Writer(database.registry, self.actors, code_version=version(), checkpoint=checkpoint),
            self.actors,
            database.lock,
            vitals,
            checkpoint=checkpoint,
            ensure_database=database.server.ensure,
        )
        self.pipeline = Pipeline(
            self.chains,
            Applier(database.registry, self.chains),
            self.lane,
            Limits(settings.batch_ops, settings.batch_mb << 20, settings.batch_milliseconds / 1000),
        )
        self.watermarks = Watermarks(database.pool)
        self._stream_bound = settings.stream_queue_mb << 20
        self._lane_bound = 2 * (settings.batch_mb << 20)

    async def follow(
        self,
        stream: Streaming,
        shutdown: Shutdown,
        beside: Mapping[str, Coroutine[None, None, None]] | None = None,
    ) -> None:
        """Runs until ``shutdown`` is requested or the stream ends by itself; then drains.

        ``beside`` are tasks that live as long. Raises the group of what the failing tasks raised.
        """
        await self.actors.load_collections(self.database.pool)
        spare_the_collector()
        vitals, lane = self.vitals, self.lane
        async with asyncio.TaskGroup() as tasks:
            kept = {
                "lock": self.database.lock.keep(),
                "server": self.database.keep(),
                "pipeline": self.pipeline.run(),
                "tallies": vitals.refresh(self.database.pool),
                "shutdown": shutdown.wait(),
                **(beside or {}),
            }
            running = {name: tasks.create_task(work, name=name) for name, work in kept.items()}
            writing = tasks.create_task(lane.run(), name="lane")
            reading = tasks.create_task(stream.run(self.pipeline.deliver), name="stream")
            self._show(stream.status, writing)
            vitals.phase = "running"
            await asyncio.wait((reading, running["shutdown"]), return_when=asyncio.FIRST_COMPLETED)
            vitals.phase = "draining"
            reading.cancel()
            await asyncio.wait((reading,))
            await self.pipeline.finish()
            await writing
            for task in running.values():
                task.cancel()
        vitals.phase = "ended"

    def _show(self, stream: SessionStatus, writing: asyncio.Task[None]) -> None:
        """From now on the vitals are those of this run."""
        vitals, lock, lane = self.vitals, self.database.lock, self.lane
        vitals.session = stream
        vitals.lane_lives = lambda: not writing.done()
        vitals.lock_held = lambda: lock.held
        vitals.lock_written = lambda: lock.written
        vitals.schema_current = True
        vitals.queues = lambda: {
            "stream": QueueStatus(stream.backlog_bytes(), self._stream_bound),
            "lane": QueueStatus(lane.held_bytes, self._lane_bound),
        }
        vitals.caches = lambda: {
            "chains": CacheStatus(len(self.chains), 2 * CACHED_REPOS),
            "actors": CacheStatus(len(self.actors), 2 * CACHED_REPOS),
        }
