"""app.bsky.graph.follow (records §2.7)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from firehose_indexer.records import fields
from firehose_indexer.records.base import ACTOR_COUNTS, Actor, Collection, Count, Notice, Record, Table

KNOWN = frozenset(("$type", "subject", "via", "createdAt"))


class FollowRow(NamedTuple):
    """``via`` is the record, usually a starter pack, through which the subject was found."""

    created_at: datetime | None
    indexed_at: datetime
    actor_id: Actor
    subject_actor_id: Actor
    via_actor_id: Actor | None
    via_coll: str | None
    shadow: bool
    rkey: str
    cid: bytes
    via_rkey: str | None
    extra: str | None


def row(record: Record) -> FollowRow:
    """Raises RecordError when ``subject`` is no DID."""
    fields.check_type(record)
    value = record.value
    subject = fields.required_did(record, "subject")
    created_at = fields.created_at(record)
    via = fields.uri_of(value.get("via"))
    unusable = tuple(
        field
        for field, usable in (("via", via), ("createdAt", created_at))
        if usable is None and value.get(field) is not None
    )
    extra = fields.extra(record, KNOWN, unusable) if unusable or not KNOWN.issuperset(value) else None
    via_actor, via_coll, via_rkey = (via.did, via.collection, via.rkey) if via else (None, None, None)
    return FollowRow(
        created_at,
        record.time,
        record.did,
        subject,
        via_actor,
        via_coll,
        False,
        record.rkey,
        record.cid,
        via_rkey,
        extra,
    )


def counts(row: FollowRow) -> Iterable[Count]:
    return (
        (ACTOR_COUNTS, (row.subject_actor_id,), "followers"),
        (ACTOR_COUNTS, (row.actor_id,), "follows"),
    )


COLLECTION = Collection(
    nsid="app.bsky.graph.follow",
    table=Table("follows", FollowRow, group=("subject_actor_id",), heavy=("extra",)),
    row=row,
    counts=counts,
    notices=(Notice("follow", "subject_actor_id"),),
)
