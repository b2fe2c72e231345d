"""Where each stream stands, read and moved by hand (spec/protocol §3.1, §3.4).

Moving a watermark needs the writer lock: call ``move`` only while it is held and claimed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import asyncpg

from firehose_indexer.store.lock import WriterLock
from firehose_indexer.store.pool import connect

_LIST = """
    SELECT source, endpoint, watermark, received, event_time, updated_at
    FROM ix.stream_cursors ORDER BY updated_at DESC
"""
_MOVE = """
    INSERT INTO ix.stream_cursors (source, endpoint, watermark, received, event_time)
    VALUES ($1, $2, $3, $3, $4)
    ON CONFLICT (source, endpoint) DO UPDATE SET watermark = excluded.watermark,
        received = excluded.received, event_time = excluded.event_time, updated_at = now()
"""
_GAP = """
    INSERT INTO ix.gaps (source, kind, from_seq, to_seq, from_time, to_time, note)
    VALUES ($1, 'operator', $2, $3, $4, $5, $6)
"""


@dataclass(frozen=True, slots=True)
class Cursor:
    """One line of ``ix.stream_cursors``; times are UTC."""

    source: str
    endpoint: str
    watermark: int | None
    received: int | None
    event_time: datetime | None
    updated_at: datetime


async def cursors(dsn: str) -> list[Cursor]:
    """Every stream the database knows, the last used first; none before the first migration.

    Raises DatabaseError.
    """
    connection = await connect(dsn)
    try:
        if not await connection.fetchval("SELECT to_regclass('ix.stream_cursors') IS NOT NULL"):
            return []
        return [Cursor(**dict(row)) for row in await connection.fetch(_LIST)]
    finally:
        await connection.close(timeout=10)


async def move(
    dsn: str, lock: WriterLock, at: Cursor, seq: int, *, event_time: datetime | None, gap: bool
) -> None:
    """Set the watermark of ``at``'s stream; with ``gap``, name the hole that this leaves.

    Raises DatabaseError, Fenced when the lock is not ours.
    """
    connection = await connect(dsn)
    try:
        async with connection.transaction():
            await lock.check(connection)
            await connection.execute(_MOVE, at.source, at.endpoint, seq, event_time)
            if gap:
                await _open_gap(connection, at, seq, event_time)
    finally:
        await connection.close(timeout=10)


async def _open_gap(
    connection: asyncpg.Connection, at: Cursor, seq: int, event_time: datetime | None
) -> None:
    """From where we were to where we go; backwards the far end is unknown, so it stays open."""
    forward = at.watermark is not None and seq > at.watermark
    from_seq, to_seq = (at.watermark, seq) if forward else (seq, None)
    from_time, to_time = (at.event_time, event_time) if forward else (event_time, None)
    note = f"moved by hand from {at.watermark} to {seq}"
    await connection.execute(_GAP, at.source, from_seq, to_seq, from_time, to_time, note)
