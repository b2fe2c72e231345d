"""app.bsky.graph.block (records §2.8): a row and nothing that follows from it; blocks act on reading."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from firehose_indexer.records import fields
from firehose_indexer.records.base import Actor, Collection, Record, Table

KNOWN = frozenset(("$type", "subject", "createdAt"))


class BlockRow(NamedTuple):
    created_at: datetime | None
    indexed_at: datetime
    actor_id: Actor
    subject_actor_id: Actor
    shadow: bool
    rkey: str
    cid: bytes
    extra: str | None


def row(record: Record) -> BlockRow:
    """Raises RecordError when ``subject`` is no DID."""
    fields.check_type(record)
    value = record.value
    subject = fields.required_did(record, "subject")
    created_at = fields.created_at(record)
    unusable = ("createdAt",) if created_at is None and value.get("createdAt") is not None else ()
    extra = fields.extra(record, KNOWN, unusable) if unusable or not KNOWN.issuperset(value) else None
    return BlockRow(created_at, record.time, record.did, subject, False, record.rkey, record.cid, extra)


COLLECTION = Collection(
    nsid="app.bsky.graph.block",
    table=Table("blocks", BlockRow, group=("subject_actor_id",), heavy=("extra",)),
    row=row,
)
