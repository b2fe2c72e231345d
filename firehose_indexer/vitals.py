"""What one process knows of its own health: fed by the lane and the session, asked by the server.

Every answer is from memory; the tallies behind it are counted by ``refresh`` every few seconds.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from firehose_indexer.errors import IndexerError
from firehose_indexer.metrics import Metrics
from firehose_indexer.ops.console import Pulse
from firehose_indexer.process import memory_bytes
from firehose_indexer.rate import Rate
from firehose_indexer.server.ready import Facts
from firehose_indexer.server.status import (
    CacheStatus,
    DatabaseStatus,
    ErrorSeen,
    GapCount,
    QueueStatus,
    Rates,
    SourceStatus,
    StatusSnapshot,
)
from firehose_indexer.store import tallies
from firehose_indexer.store.batch import Batch
from firehose_indexer.store.faults import is_transient
from firehose_indexer.stream.intake import Position
from firehose_indexer.stream.status import SessionStatus

REFRESH_SECONDS = 5.0


class Vitals:
    """``status`` is the session's own; ``caches`` and ``queues`` are asked when the answer is wanted."""

    def __init__(self, metrics: Metrics, *, verify: str, memory_mb: int) -> None:
        self._metrics = metrics
        self._verify = verify
        self._memory_bound = memory_mb << 20
        self._begun = time.monotonic()
        self._beat = self._begun
        self._events, self._rows = Rate(), Rate()
        self._errors: deque[ErrorSeen] = deque(maxlen=20)
        self._tallies = tallies.EMPTY
        self._writer_error = ""
        self._watermark: int | None = None
        self._event_time: datetime | None = None
        self._written: float | None = None
        self._quarantined = 0
        self.events_written = 0
        self.rows_written = 0
        self.phase = "starting"
        self.schema_current = False
        self.lane_lives: Callable[[], bool] = lambda: False
        self.lock_held: Callable[[], bool] = lambda: False
        self.lock_written: Callable[[], float | None] = lambda: None
        self.session: SessionStatus | None = None
        self.database: Callable[[], DatabaseStatus | None] = lambda: None
        self.queues: Callable[[], dict[str, QueueStatus]] = dict
        self.caches: Callable[[], dict[str, CacheStatus]] = dict

    # the lane's Watch

    def batch_written(self, batch: Batch, seconds: float, rows: dict[str, int]) -> None:
        """Counts what a committed batch did, once per batch."""
        metrics = self._metrics
        metrics.batch(seconds, batch.events)
        metrics.rows(rows)
        metrics.outcomes(batch.outcomes)
        metrics.records(batch.records)
        self._count_notes(batch)
        refusals = [*batch.refused_ops.values(), *batch.refusals]
        for refusal in refusals:
            metrics.quarantined({(refusal.scope, refusal.reason.partition(":")[0]): 1})
        self._quarantined += len(refusals)
        self._events.add(batch.events)
        self._rows.add(sum(rows.values()))
        self.events_written += batch.events
        self.rows_written += sum(rows.values())
        if batch.watermark is not None:
            self._watermark = batch.watermark
        self._event_time = batch.event_time or self._event_time
        self._written = time.monotonic()
        self._writer_error = ""

    def batch_delayed(self, reason: str, error: BaseException) -> None:
        self._metrics.commit_retry(reason)
        self._writer_error = f"{reason}: {error}"[:200]
        self.error("writer", error)

    def _count_notes(self, batch: Batch) -> None:
        for (collection, kind, field), count in batch.notes.items():
            if kind == "bad_date":
                self._metrics.bad_dates({collection: count})
            elif kind == "over_limit":
                self._metrics.records_over_limit(count)
            else:
                self._metrics.fields_ignored({(collection, field): count})

    def error(self, where: str, error: BaseException) -> None:
        text = str(error) if isinstance(error, IndexerError) else f"{type(error).__name__}: {error}"
        self._errors.append(ErrorSeen(datetime.now(UTC), where, text[:300]))

    def queue_bytes(self, name: str) -> int:
        queue = self.queues().get(name)
        return 0 if queue is None else queue.depth_bytes

    def resumed(self, position: Position | None) -> None:
        """What is committed already, before this process has written anything."""
        if position is not None:
            self._watermark, self._event_time = position

    # upkeep

    async def heartbeat(self) -> None:
        """Proves that the event loop turns. Runs until cancelled."""
        while True:
            self._beat = time.monotonic()
            await asyncio.sleep(1.0)

    async def refresh(self, pool: Any) -> None:
        """Counts gaps and quarantine now and then. Runs until cancelled."""
        while True:
            try:
                self._tallies = await tallies.count(pool)
            except Exception as error:
                if not is_transient(error):
                    raise
                self.error("tallies", error)
            else:
                self._metrics.set_gaps(self._tallies.gaps)
                self._metrics.set_quarantine_open(self._tallies.quarantine)
            await asyncio.sleep(REFRESH_SECONDS)

    # the server's Health

    def heartbeat_seconds(self) -> float:
        return time.monotonic() - self._beat

    def lane_alive(self) -> bool:
        """Before there is a lane, a start that takes its time (a database in recovery) is no sickness."""
        return self.phase == "starting" or self.lane_lives()

    def lag_seconds(self) -> float:
        """Now minus the event time of the watermark; 0 before there is one."""
        if self._event_time is None:
            return 0.0
        return max(0.0, (datetime.now(UTC) - self._event_time).total_seconds())

    def facts(self) -> Facts:
        session = self.session
        gaps = self._tallies.gaps
        return Facts(
            phase=self.phase,
            schema_current=self.schema_current,
            lock_held=self.lock_held(),
            written_seconds=self._written_seconds(),
            source_state=session.state if session else "connecting",
            source_connected=session.connected if session else False,
            lag_seconds=None if self._event_time is None else self.lag_seconds(),
            open_gaps=sum(number for (state, _), number in gaps.items() if state == "open"),
            quarantine_bytes=self._tallies.quarantine_bytes,
            writer_error=self._writer_error,
        )

    def snapshot(self) -> StatusSnapshot:
        by_reason: dict[str, int] = {}
        for (_, reason), number in self._tallies.quarantine.items():
            by_reason[reason] = by_reason.get(reason, 0) + number
        return StatusSnapshot(
            uptime_seconds=time.monotonic() - self._begun,
            verify=self._verify,
            source=self._source(),
            events=_rates(self._events),
            rows=_rates(self._rows),
            memory_bytes=memory_bytes(),
            memory_bound_bytes=self._memory_bound,
            database=self.database(),
            queues=self.queues(),
            caches=self.caches(),
            quarantine=by_reason,
            gaps=[GapCount(state, kind, number) for (state, kind), number in self._tallies.gaps.items()],
            errors=list(self._errors),
        )

    def pulse(self) -> Pulse:
        """The numbers of the live line."""
        session = self.session
        return Pulse(
            state=session.state if session else "connecting",
            lag=None if self._event_time is None else self.lag_seconds(),
            events_per_second=self._events.per_second(5),
            rows_per_second=self._rows.per_second(5),
            dropped=self._quarantined,
            queue_mb=sum(queue.depth_bytes for queue in self.queues().values()) / (1 << 20),
            seq=session.received if session else None,
        )

    def _written_seconds(self) -> float | None:
        """An idle stream writes no batch; then the lock's heartbeat proves the database."""
        proofs = [at for at in (self._written, self.lock_written()) if at is not None]
        return time.monotonic() - max(proofs) if proofs else None

    def _source(self) -> SourceStatus:
        session = self.session
        if session is None:
            return SourceStatus(source="", state="connecting", connected=False)
        frame = session.last_frame
        return SourceStatus(
            source=session.source.host,
            state=session.state,
            connected=session.connected,
            received=session.received,
            watermark=self._watermark,
            event_time=self._event_time,
            lag_seconds=None if self._event_time is None else self.lag_seconds(),
            last_frame_seconds=None if frame is None else (datetime.now(UTC) - frame).total_seconds(),
            reconnects=session.reconnects,
        )


def _rates(rate: Rate) -> Rates:
    return Rates(rate.per_second(1), rate.per_second(60), rate.per_second(900))
