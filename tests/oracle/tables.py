"""Every table of ``ix`` that the stream fills, derived from the oracle's records: records §1.11, §4."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tests.oracle.reading import Oracle
from tests.oracle.rows import POST, Row, table_of

SUBJECTS = {
    "likes": ("subject_actor_id", "subject_coll", "subject_rkey"),
    "reposts": ("subject_actor_id", "subject_coll", "subject_rkey"),
    "follows": ("subject_actor_id",),
    "blocks": ("subject_actor_id",),
}
"""Of one actor's rows with the same subject, the smallest rkey is visible (records §1.11)."""

RECORD_TABLES = ("posts", "likes", "reposts", "follows", "blocks", "profiles", "generic_records")
POST_COUNTS = ("likes", "reposts", "replies", "quotes", "bookmarks")
RECORD_COUNTS = ("likes", "reposts", "bookmarks", "items")
ACTOR_COUNTS = ("followers", "follows", "posts")
Counts = Counter[tuple[tuple[Any, ...], str]]


def record_rows(oracle: Oracle) -> dict[str, list[Row]]:
    tables: dict[str, list[Row]] = {name: [] for name in RECORD_TABLES}
    for given, row in oracle.records.values():
        tables[table_of(given.collection)].append(dict(row))
    for name, columns in SUBJECTS.items():
        shade(tables[name], columns)
    return tables


def shade(rows: list[Row], columns: tuple[str, ...]) -> None:
    first: dict[tuple[Any, ...], str] = {}
    for row in rows:
        group = (row["actor_id"], *(row[column] for column in columns))
        first[group] = min(row["rkey"], first.get(group, row["rkey"]))
    for row in rows:
        group = (row["actor_id"], *(row[column] for column in columns))
        row["shadow"] = row["rkey"] != first[group]


def visible(rows: list[Row]) -> list[Row]:
    return [row for row in rows if not row["shadow"]]


def tables(oracle: Oracle) -> dict[str, list[Row]]:
    """Rows of every table, with DIDs for actor ids and NSIDs for collection ids."""
    rows = record_rows(oracle)
    return {
        **rows,
        **counts(rows),
        "repos": [
            {"actor_id": did, **repo._asdict(), "state": 1 if repo.reason else 0}
            for did, repo in oracle.repos.items()
        ],
        "quarantine": [loss._asdict() for loss in (*oracle.losses, *oracle.refused.values())],
        "statuses": [{"actor_id": did, **status._asdict()} for did, status in oracle.statuses.items()],
        "cursors": [{"watermark": oracle.watermark, "event_time": oracle.event_time}],
    }


def counts(rows: dict[str, list[Row]]) -> dict[str, list[Row]]:
    """The sentences of records §4, as counts of rows."""
    posts: Counts = Counter()
    records: Counts = Counter()
    actors: Counts = Counter()
    for name in ("likes", "reposts"):
        for row in visible(rows[name]):
            did, coll, rkey = (row[column] for column in SUBJECTS[name])
            if coll == POST:
                posts[(did, rkey), name] += 1
            else:
                records[(did, coll, rkey), name] += 1
    for row in visible(rows["follows"]):
        actors[(row["subject_actor_id"],), "followers"] += 1
        actors[(row["actor_id"],), "follows"] += 1
    for row in rows["posts"]:
        actors[(row["actor_id"],), "posts"] += 1
        if row["parent_rkey"] is not None:
            posts[(row["parent_actor_id"], row["parent_rkey"]), "replies"] += 1
        if row["embed_coll"] == POST:
            posts[(row["embed_actor_id"], row["embed_rkey"]), "quotes"] += 1
    return {
        "post_counts": lines(posts, ("actor_id", "rkey"), POST_COUNTS),
        "record_counts": lines(records, ("actor_id", "coll", "rkey"), RECORD_COUNTS),
        "actor_counts": lines(actors, ("actor_id",), ACTOR_COUNTS),
    }


def lines(found: Counts, key: tuple[str, ...], columns: tuple[str, ...]) -> list[Row]:
    keys = {key for key, _ in found}
    return [dict(zip(key, one, strict=True)) | {c: found[one, c] for c in columns} for one in keys]
