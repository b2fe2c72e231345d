"""app.bsky.feed.post (records §2.1)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from firehose_indexer.errors import Reason, RecordError
from firehose_indexer.records import fields
from firehose_indexer.records.base import (
    ACTOR_COUNTS,
    POST,
    POST_COUNTS,
    Actor,
    Collection,
    Count,
    Record,
    Table,
)
from firehose_indexer.repo.syntax import AtUri

IMAGES, VIDEO, GALLERY, EXTERNAL, RECORD = 1, 2, 4, 8, 16
MEDIA = {
    "app.bsky.embed.images": IMAGES,
    "app.bsky.embed.video": VIDEO,
    "app.bsky.embed.external": EXTERNAL,
}
GALLERY_ITEMS = frozenset(("app.bsky.embed.gallery#image",))


class PostRow(NamedTuple):
    """``embed`` is the embedded record of any collection; the verdicts are None until a gate is judged."""

    created_at: datetime | None
    indexed_at: datetime
    actor_id: Actor
    parent_actor_id: Actor | None
    root_actor_id: Actor | None
    embed_actor_id: Actor | None
    embed_coll: str | None
    media: int
    is_reply: bool
    violates_thread_gate: bool | None
    violates_embedding_rules: bool | None
    rkey: str
    cid: bytes
    parent_rkey: str | None
    root_rkey: str | None
    embed_rkey: str | None
    langs: list[str] | None
    tags: list[str] | None
    self_labels: list[str] | None
    record: str
    raw: bytes | None


def row(record: Record) -> PostRow:
    """Raises RecordError when ``text`` or a present ``reply`` is unusable."""
    fields.check_type(record)
    fields.required_text(record, "text")
    reply = record.value.get("reply")
    parent, root = _reply(reply) if reply is not None else (None, None)
    embedded, media = _embed(record)
    json, raw = fields.whole(record)
    return PostRow(
        created_at=fields.created_at(record),
        indexed_at=record.time,
        actor_id=record.did,
        parent_actor_id=parent.did if parent else None,
        root_actor_id=root.did if root else None,
        embed_actor_id=embedded.did if embedded else None,
        embed_coll=embedded.collection if embedded else None,
        media=media,
        is_reply=reply is not None,
        violates_thread_gate=None,
        violates_embedding_rules=None,
        rkey=record.rkey,
        cid=record.cid,
        parent_rkey=parent.rkey if parent else None,
        root_rkey=root.rkey if root else None,
        embed_rkey=embedded.rkey if embedded else None,
        langs=fields.texts(record, "langs"),
        tags=fields.texts(record, "tags"),
        self_labels=fields.self_labels(record),
        record=json,
        raw=raw,
    )


def _reply(reply: object) -> tuple[AtUri | None, AtUri | None]:
    """Parent and root where they are posts. A broken reply must not turn into a post (records §1.8)."""
    if not isinstance(reply, dict):
        raise RecordError(Reason.bad_field, field="reply")
    found: list[AtUri | None] = []
    for end in ("parent", "root"):
        target = reply.get(end)
        if not isinstance(target, dict) or not isinstance(target.get("uri"), str):
            raise RecordError(Reason.bad_field, field="reply")
        uri = fields.uri_of(target)
        if uri is None:
            raise RecordError(Reason.bad_uri, field=f"reply.{end}")
        found.append(uri if uri.collection == POST else None)
    return found[0], found[1]


def _embed(record: Record) -> tuple[AtUri | None, int]:
    """The embedded record, and the bits of ``media``."""
    embed = record.value.get("embed")
    if embed is None:
        return None, 0
    if not isinstance(embed, dict):
        fields.ignored(record, "embed")
        return None, 0
    kind = embed.get("$type")
    if kind == "app.bsky.embed.record":
        return _embedded(record, embed.get("record")), RECORD
    if kind == "app.bsky.embed.recordWithMedia":
        inner = embed.get("record")
        reference = inner.get("record") if isinstance(inner, dict) else None
        return _embedded(record, reference), RECORD | _media(embed.get("media"))
    return None, _media(embed)


def _embedded(record: Record, reference: object) -> AtUri | None:
    found = fields.uri_of(reference)
    if found is None:
        fields.ignored(record, "embed")
    return found


def _media(embed: Any) -> int:
    if not isinstance(embed, dict):
        return 0
    kind = embed.get("$type")
    if kind == "app.bsky.embed.gallery":
        items = embed.get("items")
        known = isinstance(items, list) and any(
            isinstance(item, dict) and item.get("$type") in GALLERY_ITEMS for item in items
        )
        return GALLERY if known else 0
    return MEDIA.get(kind, 0) if isinstance(kind, str) else 0


def counts(row: PostRow) -> Iterable[Count]:
    found: list[Count] = [(ACTOR_COUNTS, (row.actor_id,), "posts")]
    if row.parent_rkey is not None and row.violates_thread_gate is not True:
        found.append((POST_COUNTS, (row.parent_actor_id, row.parent_rkey), "replies"))
    if row.embed_coll == POST:
        found.append((POST_COUNTS, (row.embed_actor_id, row.embed_rkey), "quotes"))
    return found


COLLECTION = Collection(
    nsid=POST,
    table=Table("posts", PostRow, heavy=("langs", "tags", "self_labels", "record", "raw")),
    row=row,
    counts=counts,
)
