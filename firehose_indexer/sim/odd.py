"""Records that a sound repository may hold and that an indexer must survive.

Each is proven by its commit like any other; what it means is for the indexer to say: stored, counted, or
quarantined with a reason (spec/records §1.2, §1.3, §1.8, worked examples E15–E17, E31–E49).
"""

from __future__ import annotations

from random import Random
from typing import Any

import libipld

from firehose_indexer.repo.data import cid_text
from firehose_indexer.sim.acts import Write
from firehose_indexer.sim.writing import BLOCK, FOLLOW, LIKE, POST, PROFILE, REPOST

THING = "com.example.thing"


def writes(rng: Random, key: str, did: str, now: str) -> tuple[Write, ...]:
    """The operations of one odd commit. ``key`` is a TID that the repository does not use yet."""
    kind = int(len(KINDS) * rng.random())
    return KINDS[kind](key, did, now)


def _create(collection: str, rkey: str, record: Any) -> tuple[Write, ...]:
    return (Write("create", f"{collection}/{rkey}", libipld.encode_dag_cbor(record)),)


def _post(key: str, now: str, **fields: Any) -> tuple[Write, ...]:
    return _create(POST, key, {"$type": POST, "text": "odd", "createdAt": now} | fields)


def _like(key: str, uri: object, now: str) -> tuple[Write, ...]:
    return _create(
        LIKE, key, {"$type": LIKE, "subject": {"uri": uri, "cid": cid_text(_link(key))}, "createdAt": now}
    )


def _link(text: str) -> bytes:
    return b"\x01\x71\x12\x20" + text.encode().ljust(32)[:32]


def _nested(depth: int) -> Any:
    value: Any = "bottom"
    for _ in range(depth):
        value = [value]
    return value


def _deep(key: str, depth: int) -> tuple[Write, ...]:
    return _create(THING, key, {"$type": THING, "deep": _nested(depth)})


def _fleeting(key: str, now: str) -> tuple[Write, ...]:
    """One commit creates and deletes the same path: nothing, and no record block."""
    return (*_post(key, now), Write("delete", f"{POST}/{key}", None))


def _path(path: str) -> tuple[Write, ...]:
    return (Write("create", path, libipld.encode_dag_cbor({"$type": THING})),)


def _floats(key: str) -> tuple[Write, ...]:
    return _create(THING, key, {"$type": THING, "ratio": 0.5})


KINDS = (
    # text that Postgres cannot hold
    lambda key, _did, now: _post(
        key, now, text="a\0b", embed={"$type": "app.bsky.embed.unknown", "alt": "\0"}
    ),
    # dates
    lambda key, _did, _now: _post(key, "yesterday"),
    lambda key, _did, _now: _post(key, "0000-01-01T00:00:00Z"),
    lambda key, _did, _now: _post(key, "0001-01-01T00:00:00Z"),
    lambda key, _did, _now: _post(key, "9999-12-31T23:59:59-01:00"),
    lambda key, _did, _now: _post(key, "2024-05-01T00:00:00.123999999+09:30"),
    lambda key, _did, _now: _post(key, "2099-01-01T00:00:00.000Z"),
    lambda key, _did, now: _post(key, now, createdAt=17),
    # wrong types, missing fields
    lambda key, _did, now: _post(key, now, text=7),
    lambda key, _did, now: _create(POST, key, {"$type": POST, "createdAt": now}),
    lambda key, _did, now: _post(key, now, reply={}),
    lambda key, _did, now: _post(key, now, langs="en", tags=[1, "ok"], facets={"index": 0}, embed=3),
    lambda key, did, now: _post(
        key,
        now,
        facets=[
            {
                "index": {"byteStart": 13, "byteEnd": 99},
                "features": [{"$type": "app.bsky.richtext.facet#mention", "did": did}],
            }
        ],
    ),
    lambda key, _did, now: _create(LIKE, key, {"$type": LIKE, "createdAt": now}),
    lambda key, _did, now: _like(key, 17, now),
    lambda key, _did, now: _like(key, f"at://alice.test/{POST}/{key}", now),
    lambda key, did, now: _like(key, f"at://{did}/app.bsky.feed.generator/cats", now),
    lambda key, _did, now: _create(FOLLOW, key, {"$type": FOLLOW, "subject": "alice", "createdAt": now}),
    lambda key, did, now: _create(FOLLOW, key, {"$type": FOLLOW, "subject": did, "createdAt": now}),
    lambda key, did, now: _create(BLOCK, key, {"$type": BLOCK, "subject": did, "createdAt": now}),
    lambda key, _did, _now: _create(THING, key, ["a", "list"]),
    # $type
    lambda key, _did, now: _create(LIKE, key, {"$type": REPOST, "createdAt": now}),
    lambda key, _did, now: _create(POST, key, {"text": "no type", "createdAt": now}),
    lambda key, _did, now: _create(THING, key, {"createdAt": now}),
    # keys and paths
    lambda key, _did, now: _post(f"odd.{key}:~_-", now),
    lambda key, _did, now: _post(key.ljust(512, "k"), now),
    lambda key, _did, _now: _create(PROFILE, f"other-{key}", {"$type": PROFILE}),
    lambda key, _did, _now: _path(f"not-an-nsid/{key}"),
    lambda key, _did, _now: _path(f"{THING}/Ünï{key}"),
    lambda key, _did, _now: _path(f"{THING}/{key}/more"),
    # shapes of data
    lambda key, _did, _now: _deep(key, 200),
    lambda key, _did, _now: _deep(key, 300),
    lambda key, _did, _now: _create(THING, key, {"$type": THING, "text": "x" * 90_000}),
    lambda key, _did, _now: _create(THING, key, {"$type": THING, "text": "x" * 1_100_000}),
    lambda key, _did, _now: _create(
        THING, key, {"$type": THING, "": {"": None}, "big": 2**53 + 1, "low": -(2**63)}
    ),
    lambda key, _did, _now: _create(THING, key, {"$type": THING, "raw": b"\0\1\2", "link": _link(key)}),
    lambda key, _did, _now: _create(
        THING, key, {"$type": THING, "$link": "not a link", "$bytes": "nor bytes"}
    ),
    lambda key, _did, _now: _floats(key),
    # commits
    lambda key, _did, now: _fleeting(key, now),
)
"""Each takes (unused TID, the author's DID, now) and gives the operations of one commit."""
