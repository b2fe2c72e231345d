"""What one record must be as a row of its table: records §2, read plainly. Accounts are DIDs, collections NSIDs."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from tests.oracle.blocks import Bad, Link, is_lossy, json_form
from tests.oracle.syntax import Uri, date, is_did, uri

POST = "app.bsky.feed.post"
LIKE = "app.bsky.feed.like"
REPOST = "app.bsky.feed.repost"
FOLLOW = "app.bsky.graph.follow"
BLOCK = "app.bsky.graph.block"
PROFILE = "app.bsky.actor.profile"
GENERIC = ""
TABLES = {
    POST: "posts",
    LIKE: "likes",
    REPOST: "reposts",
    FOLLOW: "follows",
    BLOCK: "blocks",
    PROFILE: "profiles",
}

Row = dict[str, Any]


class Given(NamedTuple):
    """A record that a repository holds."""

    did: str
    collection: str
    rkey: str
    cid: bytes
    block: bytes
    value: Any
    time: datetime


def table_of(collection: str) -> str:
    return TABLES.get(collection, "generic_records")


def row_of(given: Given) -> Row:
    """Raises Bad with the reason why the record can be none."""
    value = given.value
    if not isinstance(value, dict):
        raise Bad("record_not_map")
    make = MAKERS.get(given.collection)
    if make is None:
        return generic(given)
    if given.collection == PROFILE and given.rkey != "self":
        raise Bad("bad_rkey")
    if value.get("$type") != given.collection:
        raise Bad("type_missing" if value.get("$type") is None else "type_mismatch")
    return make(given)


def common(given: Given) -> Row:
    return {
        "actor_id": given.did,
        "cid": given.cid[4:],
        "created_at": date(given.value.get("createdAt")),
        "indexed_at": given.time,
    }


def whole(given: Given) -> Row:
    return {"record": json_form(given.value), "raw": given.block if is_lossy(given.value) else None}


def reference(prefix: str, target: Uri | None, *, coll: bool = True) -> Row:
    did, collection, rkey = target or (None, None, None)
    named = {f"{prefix}_actor_id": did, f"{prefix}_rkey": rkey}
    return named | {f"{prefix}_coll": collection} if coll else named


def generic(given: Given) -> Row:
    kind = given.value.get("$type")
    created = date(given.value.get("createdAt")) or date(given.value.get("publishedAt"))
    return {
        **common(given),
        **whole(given),
        "coll": given.collection,
        "rkey": given.rkey,
        "created_at": created,
        "record_type": json_form(kind) if isinstance(kind, str) else None,
    }


def post(given: Given) -> Row:
    value = given.value
    if value.get("text") is None:
        raise Bad("missing_field:text")
    if not isinstance(value["text"], str):
        raise Bad("bad_field:text")
    parent, root = ends(value.get("reply"))
    embedded, media = embed(value.get("embed"))
    return {
        **common(given),
        **whole(given),
        **reference("parent", parent, coll=False),
        **reference("root", root, coll=False),
        **reference("embed", embedded),
        "rkey": given.rkey,
        "is_reply": value.get("reply") is not None,
        "media": media,
        "langs": strings(value.get("langs")),
        "tags": strings(value.get("tags")),
        "self_labels": self_labels(value.get("labels")),
        "violates_thread_gate": None,
        "violates_embedding_rules": None,
    }


def ends(reply: Any) -> tuple[Uri | None, Uri | None]:
    if reply is None:
        return None, None
    found = []
    for name in ("parent", "root"):
        target = reply.get(name) if isinstance(reply, dict) else None
        if not isinstance(target, dict) or not isinstance(target.get("uri"), str):
            raise Bad("bad_field:reply")
        place = uri(target)
        if place is None:
            raise Bad(f"bad_uri:reply.{name}")
        found.append(place if place.collection == POST else None)
    return found[0], found[1]


def embed(value: Any) -> tuple[Uri | None, int]:
    kind = kind_of(value)
    if kind == "app.bsky.embed.record":
        return uri(value.get("record")), 16
    if kind == "app.bsky.embed.recordWithMedia":
        inner = value.get("record")
        return uri(inner.get("record") if isinstance(inner, dict) else None), 16 + media(value.get("media"))
    return None, media(value)


def media(value: Any) -> int:
    kind = kind_of(value)
    if kind == "app.bsky.embed.gallery":
        items = value.get("items")
        known = [i for i in items if kind_of(i) == f"{kind}#image"] if isinstance(items, list) else []
        return 4 if known else 0
    bits = {"app.bsky.embed.images": 1, "app.bsky.embed.video": 2, "app.bsky.embed.external": 8}
    return bits.get(kind, 0)


def kind_of(value: Any) -> str:
    kind = value.get("$type") if isinstance(value, dict) else None
    return kind if isinstance(kind, str) else ""


def strings(value: Any) -> list[str] | None:
    found = [json_form(one) for one in value if isinstance(one, str)] if isinstance(value, list) else []
    return found or None


def self_labels(value: Any) -> list[str] | None:
    if kind_of(value) != "com.atproto.label.defs#selfLabels" or not isinstance(value.get("values"), list):
        return None
    found: list[str] = []
    for entry in value["values"]:
        val = entry.get("val") if isinstance(entry, dict) else None
        if (
            isinstance(val, str)
            and len(val.encode()) <= 128
            and json_form(val) not in found
            and len(found) < 10
        ):
            found.append(json_form(val))
    return found or None


def subject(given: Given) -> Row:
    """Like and repost."""
    value = given.value
    if value.get("subject") is None:
        raise Bad("missing_field:subject")
    place = uri(value["subject"])
    if place is None:
        raise Bad("bad_uri:subject")
    via = uri(value.get("via"))
    via = via if via is not None and via.collection == REPOST else None
    return {
        **common(given),
        **reference("subject", place),
        **reference("via", via, coll=False),
        "rkey": given.rkey,
        "extra": extra(value, {"subject", "via"}, via=via),
    }


def follow(given: Given) -> Row:
    via = uri(given.value.get("via"))
    return {
        **towards(given),
        **reference("via", via),
        "extra": extra(given.value, {"subject", "via"}, via=via),
    }


def towards(given: Given) -> Row:
    """Follow and block."""
    if not is_did(given.value.get("subject")):
        raise Bad("bad_did:subject")
    return {
        **common(given),
        "subject_actor_id": given.value["subject"],
        "rkey": given.rkey,
        "extra": extra(given.value, {"subject"}),
    }


def extra(value: Row, known: set[str], *, via: Uri | None = None) -> Row | None:
    """Unknown fields, and optional ones that nobody could use."""
    kept = {name for name in value if name not in {"$type", "createdAt", *known}}
    if value.get("createdAt") is not None and date(value["createdAt"]) is None:
        kept.add("createdAt")
    if "via" in known and value.get("via") is not None and via is None:
        kept.add("via")
    return {json_form(name): json_form(value[name]) for name in kept} or None


def profile(given: Given) -> Row:
    value = given.value
    joined, pinned = uri(value.get("joinedViaStarterPack")), uri(value.get("pinnedPost"))
    if joined is not None and joined.collection != "app.bsky.graph.starterpack":
        joined = None
    own = pinned is not None and pinned.did == given.did and pinned.collection == POST
    return {
        **common(given),
        **whole(given),
        **reference("joined", joined, coll=False),
        "pinned_rkey": pinned.rkey if pinned is not None and own else None,
        "avatar_cid": blob(value.get("avatar")),
        "banner_cid": blob(value.get("banner")),
        "self_labels": self_labels(value.get("labels")),
    }


def blob(value: Any) -> bytes | None:
    """Any form in which the network has named one (records §1.4)."""
    if isinstance(value, dict):
        named = [value[name] for name in ("ref", "$link", "cid") if name in value]
        return blob(named[0]) if named else None
    if isinstance(value, Link):
        return bytes(value) if value[:4] in (b"\x01\x55\x12\x20", b"\x01\x71\x12\x20") else None
    return cid_bytes(value) if isinstance(value, str) else None


def cid_bytes(value: str) -> bytes | None:
    digits = {c: n for n, c in enumerate("abcdefghijklmnopqrstuvwxyz234567")}
    if len(value) != 59 or value[:7] not in ("bafyrei", "bafkrei") or any(c not in digits for c in value):
        return None
    number = 0
    for c in value[1:]:
        number = number << 5 | digits[c]
    return (number >> 2).to_bytes(36) if number & 3 == 0 else None


MAKERS = {LIKE: subject, REPOST: subject, FOLLOW: follow, BLOCK: towards, POST: post, PROFILE: profile}
