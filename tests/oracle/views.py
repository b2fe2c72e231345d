"""Every view of ``appview``, derived from the oracle: records §2, §3."""

from __future__ import annotations

from typing import Any

from tests.oracle.blocks import cid_text
from tests.oracle.reading import Oracle
from tests.oracle.rows import BLOCK, FOLLOW, LIKE, POST, REPOST, Row
from tests.oracle.tables import counts, record_rows, visible

RECORD_CID = b"\x01\x71\x12\x20"
Rows = dict[str, list[Row]]


def views(oracle: Oracle, source: str) -> Rows:
    """Rows of every view; ids of notifications and the cursor's ``updated_at`` apart."""
    rows = record_rows(oracle)
    seen = {name: [r for r in found if not oracle.hidden(r["actor_id"])] for name, found in rows.items()}
    tally = counts(rows)
    return {
        "posts": [post(row) for row in seen["posts"]],
        "post_aggregations": aggregations(seen, tally),
        "quotes": [quote(row) for row in seen["posts"] if row["embed_coll"] == POST],
        "likes": [subject(row, LIKE) for row in visible(seen["likes"])],
        "reposts": [subject(row, REPOST) for row in visible(seen["reposts"])],
        "post_viewer_states": viewer_states(seen),
        "feed_items": feed_items(oracle, seen, rows),
        "thread_contexts": thread_contexts(oracle, seen, rows),
        "follows": [
            stamps(row, FOLLOW)
            | {"follower_did": row["actor_id"], "following_did": row["subject_actor_id"]}
            | {"via": at(row["via_actor_id"], row["via_coll"], row["via_rkey"])}
            for row in visible(seen["follows"])
        ],
        "blocks": [
            stamps(row, BLOCK) | {"blocker_did": row["actor_id"], "blocked_did": row["subject_actor_id"]}
            for row in visible(seen["blocks"])
        ],
        "users": users(oracle, seen, tally),
        "generic_records": [
            stamps(row, row["coll"])
            | {"author_did": row["actor_id"], "collection": row["coll"]}
            | {"record_type": row["record_type"], "record": row["record"]}
            for row in seen["generic_records"]
        ],
        "notifications": notifications(seen),
        "firehose_cursor": [
            {"service": source, "cursor": oracle.watermark, "last_event_time": oracle.event_time}
        ],
    }


def at(did: str | None, collection: str | None, rkey: str | None) -> str | None:
    return f"at://{did}/{collection}/{rkey}" if did and collection and rkey else None


def created(row: Row) -> Any:
    return row["created_at"] or row["indexed_at"]


def sorting(row: Row) -> Any:
    return min(created(row), row["indexed_at"])


def stamps(row: Row, collection: str) -> Row:
    """What nearly every view begins and ends with."""
    return {
        "uri": at(row["actor_id"], collection, row["rkey"]),
        "cid": cid_text(RECORD_CID + row["cid"]),
        "created_at": created(row),
        "indexed_at": row["indexed_at"],
    }


def dig(value: Any, *path: str) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def post(row: Row) -> Row:
    record = row["record"]
    ends = {
        f"{end}_{part}": dig(record, "reply", end, part)
        for end in ("parent", "root")
        for part in ("uri", "cid")
    }
    kept = {name: row[name] for name in ("langs", "tags", "self_labels", "record")}
    return {
        **stamps(row, POST),
        **ends,
        **kept,
        "author_did": row["actor_id"],
        "text": record["text"],
        "embed": record.get("embed"),
        "facets": record.get("facets"),
        "violates_thread_gate": False,
        "violates_embedding_rules": False,
        "sort_at": sorting(row),
    }


def aggregations(seen: Rows, tally: Rows) -> list[Row]:
    found = {(row["actor_id"], row["rkey"]): row for row in tally["post_counts"]}
    names = {
        "likes": "like",
        "reposts": "repost",
        "replies": "reply",
        "quotes": "quote",
        "bookmarks": "bookmark",
    }
    lines = []
    for row in seen["posts"]:
        count = found.get((row["actor_id"], row["rkey"]), {})
        line = {f"{name}_count": count.get(column, 0) for column, name in names.items()}
        lines.append({"post_uri": at(row["actor_id"], POST, row["rkey"])} | line)
    return lines


def quote(row: Row) -> Row:
    inner = dig(row["record"], "embed", "record", "record", "cid")
    return {
        **stamps(row, POST),
        "post_uri": at(row["actor_id"], POST, row["rkey"]),
        "quoted_uri": at(row["embed_actor_id"], POST, row["embed_rkey"]),
        "quoted_cid": inner or dig(row["record"], "embed", "record", "cid"),
    }


def subject(row: Row, collection: str) -> Row:
    return {
        **stamps(row, collection),
        "user_did": row["actor_id"],
        "post_uri": at(row["subject_actor_id"], row["subject_coll"], row["subject_rkey"]),
        "subject_cid": None,
        "via": at(row["via_actor_id"], REPOST, row["via_rkey"]),
    }


def viewer_states(seen: Rows) -> list[Row]:
    states: dict[tuple[str | None, str], Row] = {}
    for name, column, collection in (("likes", "like_uri", LIKE), ("reposts", "repost_uri", REPOST)):
        for row in visible(seen[name]):
            if row["subject_coll"] == POST:
                uri, viewer = at(row["subject_actor_id"], POST, row["subject_rkey"]), row["actor_id"]
                blank = {"post_uri": uri, "viewer_did": viewer, "like_uri": None, "repost_uri": None}
                state = states.setdefault((uri, viewer), blank)
                state[column] = at(viewer, collection, row["rkey"])
    return list(states.values())


def feed_items(oracle: Oracle, seen: Rows, rows: Rows) -> list[Row]:
    items = [item(row, POST, "post", at(row["actor_id"], POST, row["rkey"])) for row in seen["posts"]]
    stored = {(row["actor_id"], row["rkey"]) for row in rows["posts"]}
    for row in visible(seen["reposts"]):
        place = (row["subject_actor_id"], row["subject_rkey"])
        if row["subject_coll"] == POST and place in stored and not oracle.hidden(place[0]):
            items.append(item(row, REPOST, "repost", at(place[0], POST, place[1])))
    return items


def item(row: Row, collection: str, kind: str, post_uri: str | None) -> Row:
    facts = {"post_uri": post_uri, "originator_did": row["actor_id"], "type": kind, "sort_at": sorting(row)}
    return stamps(row, collection) | facts


def thread_contexts(oracle: Oracle, seen: Rows, rows: Rows) -> list[Row]:
    """The like that the thread's author gave a reply, whoever may see that author."""
    liked = {
        (row["actor_id"], row["subject_actor_id"], row["subject_rkey"]): at(
            row["actor_id"], LIKE, row["rkey"]
        )
        for row in visible(rows["likes"])
        if row["subject_coll"] == POST and not oracle.hidden(row["actor_id"])
    }
    return [
        {
            "post_uri": at(row["actor_id"], POST, row["rkey"]),
            "root_author_like_uri": liked.get((row["root_actor_id"], row["actor_id"], row["rkey"])),
        }
        for row in seen["posts"]
        if row["root_rkey"] is not None
    ]


def users(oracle: Oracle, seen: Rows, tally: Rows) -> list[Row]:
    profiles = {row["actor_id"]: row for row in seen["profiles"]}
    found = {row["actor_id"]: row for row in tally["actor_counts"]}
    return [
        user(oracle, did, profiles.get(did), found.get(did, {}))
        for did in oracle.repos
        if not oracle.hidden(did)
    ]


def user(oracle: Oracle, did: str, profile: Row | None, count: Row) -> Row:
    status = oracle.statuses.get(did)
    record = profile["record"] if profile else None
    return {
        "did": did,
        "handle": "handle.invalid",
        "display_name": plain(dig(record, "displayName")),
        "avatar_url": profile and profile["avatar_cid"] and cid_text(profile["avatar_cid"]),
        "banner_url": profile and profile["banner_cid"] and cid_text(profile["banner_cid"]),
        "description": plain(dig(record, "description")),
        "pronouns": plain(dig(record, "pronouns")),
        "website": plain(dig(record, "website")),
        "profile_record": record,
        "pinned_post": dig(record, "pinnedPost") if profile and profile["pinned_rkey"] else None,
        "self_labels": profile and profile["self_labels"],
        **{f"{name}_count": count.get(name, 0) for name in ("followers", "follows", "posts")},
        "status": status.status if status else None,
        "created_at": created(profile) if profile else None,
        "indexed_at": profile and profile["indexed_at"],
    }


def plain(value: Any) -> str | None:
    """A text field of the wrong type is treated as absent (records §1.8)."""
    return value if isinstance(value, str) else None


def notifications(seen: Rows) -> list[Row]:
    """The part of the matrix of records §3.1 whose cause is a like, a repost or a follow."""
    found = []
    for name, reason, collection in (("likes", "like", LIKE), ("reposts", "repost", REPOST)):
        for row in visible(seen[name]):
            author, owner, via = row["actor_id"], row["subject_actor_id"], row["via_actor_id"]
            if owner != author:
                about = at(owner, row["subject_coll"], row["subject_rkey"])
                found.append(notice(row, collection, owner, reason, about))
                if via not in (None, author, owner):
                    about = at(via, REPOST, row["via_rkey"])
                    found.append(notice(row, collection, via, f"{reason}-via-repost", about))
    return found + [
        notice(row, FOLLOW, row["subject_actor_id"], "follow", None)
        for row in visible(seen["follows"])
        if row["subject_actor_id"] != row["actor_id"]
    ]


def notice(row: Row, collection: str, recipient: str, reason: str, about: str | None) -> Row:
    return stamps(row, collection) | {
        "recipient_did": recipient,
        "author_did": row["actor_id"],
        "reason": reason,
        "reason_subject": about,
        "is_read": False,
        "created_at": sorting(row),
    }
