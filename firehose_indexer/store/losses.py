"""What a batch could not apply: quarantine and gaps, in the transaction that moves the cursor past them
(protocol §1, §3.4; services i).
"""

from __future__ import annotations

import hashlib
from typing import Any

import zstandard

from firehose_indexer.store.batch import Batch, Refusal
from firehose_indexer.stream.events import Gap

BODY_LIMIT = 5 * 1024 * 1024

ANY_OPEN = "select exists (select from ix.quarantine where state = 'open' and scope = 'op')"
SUPERSEDE = """
update ix.quarantine t set state = 'superseded', closed_at = now()
from unnest($1::int4[], $2::text[]) k(actor_id, path)
where t.actor_id = k.actor_id and t.path = k.path and t.state = 'open' and t.scope = 'op'
"""
KEEP = """
insert into ix.quarantine
    (source, seq, actor_id, rev, scope, path, cid, reason, detail, body, body_sha256, body_size, code_version)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
on conflict do nothing
"""
OPEN_GAP = """
insert into ix.gaps (source, kind, from_seq, to_seq, from_time, to_time, note)
values ($1, $2, $3, $4, $5::text::timestamptz, $6::text::timestamptz, $7)
"""
Ids = dict[str | None, int | None]


async def write(connection: Any, batch: Batch, ids: Ids, code_version: str) -> None:
    """Closes the entries of records that moved on, writes the new ones and the gaps."""
    await _supersede(connection, batch, ids)
    lines = [*batch.refused_ops.values(), *batch.refusals]
    if lines:
        source = batch.source.host
        await connection.executemany(KEEP, [_line(source, refusal, ids, code_version) for refusal in lines])
    for gap in batch.gaps:
        await connection.execute(OPEN_GAP, batch.source.host, *_gap(gap))


async def _supersede(connection: Any, batch: Batch, ids: Ids) -> None:
    """An update or delete of a key ends the quarantine of what stood there (records §1.8)."""
    if not await connection.fetchval(ANY_OPEN):
        return
    moved = [
        (ids[change.op.did], change.op.path)
        for changes in batch.changes.values()
        for change in changes.values()
    ]
    moved += [(ids[did], path) for did, path in (*batch.refused_ops, *batch.vacated)]
    if moved:
        actors, paths = zip(*moved, strict=True)
        await connection.execute(SUPERSEDE, actors, paths)


def _line(source: str, refusal: Refusal, ids: Ids, code_version: str) -> tuple[Any, ...]:
    body = refusal.body[:BODY_LIMIT]
    return (
        source,
        refusal.seq,
        ids[refusal.did],
        refusal.rev,
        refusal.scope,
        _text(refusal.path),
        refusal.cid,
        refusal.reason,
        _text(refusal.detail),
        zstandard.compress(body),
        hashlib.sha256(refusal.body).digest(),
        refusal.size,
        code_version,
    )


def _gap(gap: Gap) -> tuple[Any, ...]:
    return (gap.kind, gap.from_seq, gap.to_seq, gap.from_time, gap.to_time, _text(gap.note))


def _text(text: str | None) -> str | None:
    """Peers write these: Postgres takes no U+0000, and nobody reads beyond a screen."""
    return None if text is None else text.replace("\0", "\x1a")[:8192]
