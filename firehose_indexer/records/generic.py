"""Any collection without a declaration of its own: stored whole, so that it can be promoted later (records §2.20)."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from firehose_indexer.records import fields
from firehose_indexer.records.base import Actor, Collection, Record, Table
from firehose_indexer.repo.datetimes import parse as parse_datetime


class GenericRow(NamedTuple):
    created_at: datetime | None
    indexed_at: datetime
    actor_id: Actor
    coll: str
    rkey: str
    cid: bytes
    record_type: str | None
    record: str
    raw: bytes | None


def row(record: Record) -> GenericRow:
    """Never refuses: what ``repo/`` could decode is stored."""
    value = record.value
    kind = value.get("$type")
    created_at = parse_datetime(value.get("createdAt")) or parse_datetime(value.get("publishedAt"))
    json, raw = fields.whole(record)
    return GenericRow(
        created_at,
        record.time,
        record.did,
        record.collection,
        record.rkey,
        record.cid,
        fields.storable(kind) if isinstance(kind, str) else None,
        json,
        raw,
    )


TABLE = Table("generic_records", GenericRow, key=("actor_id", "coll", "rkey"), heavy=("record", "raw"))


def generic(nsid: str) -> Collection:
    """The declaration that serves ``nsid`` until it has one of its own."""
    return Collection(nsid=nsid, table=TABLE, row=row)
