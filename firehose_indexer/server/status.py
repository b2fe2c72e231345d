"""``GET /status``: everything the process knows of itself, under stable keys (spec/services (l)).

No DID, URI or peer's text is in it. Sizes are bytes, times are seconds, instants are UTC.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from firehose_indexer.masking import mask
from firehose_indexer.version import version

SCHEMA = 1
"""Grows only when a key changes its meaning or goes away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceStatus:
    """``state`` is the session's word: connecting, live, quiet, … ``lag`` is that of the watermark."""

    source: str
    state: str
    connected: bool
    received: int | None = None
    watermark: int | None = None
    event_time: datetime | None = None
    lag_seconds: float | None = None
    last_frame_seconds: float | None = None
    reconnects: int = 0


@dataclass(frozen=True, slots=True)
class Rates:
    """Per second, over the last 1, 60 and 900 s."""

    last_1: float
    last_60: float
    last_900: float


@dataclass(frozen=True, slots=True)
class QueueStatus:
    depth_bytes: int
    bound_bytes: int


@dataclass(frozen=True, slots=True)
class CacheStatus:
    entries: int
    bound: int
    hit_ratio: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseStatus:
    """``server`` and ``schema`` are versions; the pool's numbers are connections."""

    server: str
    schema: int
    size: int
    idle: int
    waiting: int


@dataclass(frozen=True, slots=True)
class GapCount:
    state: str
    kind: str
    count: int


@dataclass(frozen=True, slots=True)
class ErrorSeen:
    """One of the last errors: where it happened, and its message."""

    at: datetime
    where: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusSnapshot:
    """One moment of the process. ``quarantine`` counts open entries by reason."""

    uptime_seconds: float
    verify: str
    source: SourceStatus
    events: Rates
    rows: Rates
    memory_bytes: int
    memory_bound_bytes: int
    database: DatabaseStatus | None = None
    queues: Mapping[str, QueueStatus] = field(default_factory=dict)
    caches: Mapping[str, CacheStatus] = field(default_factory=dict)
    quarantine: Mapping[str, int] = field(default_factory=dict)
    gaps: Sequence[GapCount] = ()
    errors: Sequence[ErrorSeen] = ()


def as_json(snapshot: StatusSnapshot) -> dict[str, Any]:
    """The document of ``/status``; every key is always there."""
    source = snapshot.source
    return {
        "schema": SCHEMA,
        "version": version(),
        "uptime_seconds": round(snapshot.uptime_seconds, 1),
        "verify": {"mode": snapshot.verify, "red": snapshot.verify == "off"},
        "source": {
            "name": mask(source.source),
            "state": source.state,
            "connected": source.connected,
            "reconnects": source.reconnects,
            "last_frame_seconds": _rounded(source.last_frame_seconds),
        },
        "seq": source.received,
        "watermark": source.watermark,
        "event_time": _instant(source.event_time),
        "lag_seconds": _rounded(source.lag_seconds),
        "rates": {"events": _rates(snapshot.events), "rows": _rates(snapshot.rows)},
        "gaps": [{"state": gap.state, "kind": gap.kind, "count": gap.count} for gap in snapshot.gaps],
        "quarantine": dict(snapshot.quarantine),
        "queues": {
            name: {"depth_bytes": queue.depth_bytes, "bound_bytes": queue.bound_bytes}
            for name, queue in snapshot.queues.items()
        },
        "caches": {
            name: {"entries": cache.entries, "bound": cache.bound, "hit_ratio": _rounded(cache.hit_ratio, 4)}
            for name, cache in snapshot.caches.items()
        },
        "memory": {"bytes": snapshot.memory_bytes, "bound_bytes": snapshot.memory_bound_bytes},
        "database": _database(snapshot.database),
        "errors": [
            {"at": _instant(seen.at), "where": seen.where, "message": mask(seen.message)}
            for seen in snapshot.errors
        ],
    }


def _rates(rates: Rates) -> dict[str, float]:
    return {"1": round(rates.last_1, 1), "60": round(rates.last_60, 1), "900": round(rates.last_900, 1)}


def _database(database: DatabaseStatus | None) -> dict[str, Any] | None:
    if database is None:
        return None
    return {
        "server": database.server,
        "schema": database.schema,
        "pool": {"size": database.size, "idle": database.idle, "waiting": database.waiting},
    }


def _instant(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _rounded(value: float | None, digits: int = 1) -> float | None:
    return None if value is None else round(value, digits)
