"""app.bsky.actor.profile (records §2.16)."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from firehose_indexer.records import fields
from firehose_indexer.records.base import POST, Actor, Collection, Record, Table

STARTER_PACK = "app.bsky.graph.starterpack"


class ProfileRow(NamedTuple):
    """``joined`` is a starter pack, ``pinned`` one of the account's own posts."""

    created_at: datetime | None
    indexed_at: datetime
    actor_id: Actor
    joined_actor_id: Actor | None
    cid: bytes
    joined_rkey: str | None
    pinned_rkey: str | None
    avatar_cid: bytes | None
    banner_cid: bytes | None
    self_labels: list[str] | None
    record: str
    raw: bytes | None


def row(record: Record) -> ProfileRow:
    """Raises RecordError for any rkey but ``self``; every field is optional."""
    fields.check_self(record)
    fields.check_type(record)
    joined = fields.uri_of(record.value.get("joinedViaStarterPack"))
    if joined is None or joined.collection != STARTER_PACK:
        joined_actor, joined_rkey = None, None
    else:
        joined_actor, joined_rkey = joined.did, joined.rkey
    pinned = fields.uri_of(record.value.get("pinnedPost"))
    own_post = pinned is not None and pinned.collection == POST and pinned.did == record.did
    json, raw = fields.whole(record)
    return ProfileRow(
        fields.created_at(record),
        record.time,
        record.did,
        joined_actor,
        record.cid,
        joined_rkey,
        pinned.rkey if pinned and own_post else None,
        fields.blob(record, "avatar"),
        fields.blob(record, "banner"),
        fields.self_labels(record),
        json,
        raw,
    )


COLLECTION = Collection(
    nsid="app.bsky.actor.profile",
    table=Table("profiles", ProfileRow, key=("actor_id",), heavy=("record", "raw", "self_labels")),
    row=row,
)
