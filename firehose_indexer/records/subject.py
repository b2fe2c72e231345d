"""The row that likes and reposts share: one record pointing at another (records §2.2, §2.3)."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from firehose_indexer.records import fields
from firehose_indexer.records.base import Actor, Notice, Record, Table, new_tuple

REPOST = "app.bsky.feed.repost"
KNOWN = frozenset(("$type", "subject", "via", "createdAt"))


class SubjectRow(NamedTuple):
    """``via`` is the repost through which the subject was found."""

    created_at: datetime | None
    indexed_at: datetime
    actor_id: Actor
    subject_actor_id: Actor
    via_actor_id: Actor | None
    subject_coll: str
    shadow: bool
    rkey: str
    subject_rkey: str
    cid: bytes
    via_rkey: str | None
    extra: str | None


def subject_table(name: str) -> Table:
    return Table(
        name, SubjectRow, group=("subject_actor_id", "subject_coll", "subject_rkey"), heavy=("extra",)
    )


def subject_row(record: Record) -> SubjectRow:
    """Raises RecordError when ``subject`` is no record URI."""
    fields.check_type(record)
    value = record.value
    subject = fields.required_uri(record, "subject")
    created_at = fields.created_at(record)
    unusable: tuple[str, ...] = ()
    via_actor, via_rkey = None, None
    if (named := value.get("via")) is not None:
        via = fields.uri_of(named)
        if via is not None and via.collection == REPOST:
            via_actor, via_rkey = via.did, via.rkey
        else:
            unusable = ("via",)
    if created_at is None and value.get("createdAt") is not None:
        unusable = (*unusable, "createdAt")
    extra = fields.extra(record, KNOWN, unusable) if unusable or not KNOWN.issuperset(value) else None
    cells = (
        created_at,
        record.time,
        record.did,
        subject.did,
        via_actor,
        subject.collection,
        False,
        record.rkey,
        subject.rkey,
        record.cid,
        via_rkey,
        extra,
    )
    return new_tuple(SubjectRow, cells)


def subject_notices(reason: str) -> tuple[Notice, ...]:
    """To the subject's owner, and to the reposter named in ``via`` unless the subject is the actor's own
    or the reposter owns it (records §3.1, §3.2).
    """
    return (
        Notice(reason, "subject_actor_id", ("subject_actor_id", "subject_coll", "subject_rkey")),
        Notice(
            f"{reason}-via-repost",
            "via_actor_id",
            ("via_actor_id", f"'{REPOST}'", "via_rkey"),
            unless="r.subject_actor_id in (r.actor_id, r.via_actor_id)",
        ),
    )
