"""The worked examples of spec/records §8 that concern the collections with a handler, under their own numbers.

Each runs through the real pipeline in batches of one event and in one batch, and is also held against the oracle.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.oracle.blocks import cid_text, record_cid
from tests.oracle.compare import check, contents
from tests.oracle.reading import Oracle
from tests.oracle.repos import Repos, did, follow, like, post, quoting, repost, strong
from tests.oracle.rows import BLOCK, LIKE, PROFILE, REPOST, Row
from tests.rig import execute, feed

THING = "com.example.thing"


class Found:
    """What the database shows."""

    def __init__(self, tables: dict[str, list[Row]]) -> None:
        self.tables = tables

    def view(self, name: str) -> list[Row]:
        return self.tables[f"appview.{name}"]

    def counts(self, uri: str) -> Row:
        """The stored counts of a post that are not zero."""
        owner, _, rkey = uri.removeprefix("at://").split("/")
        for row in self.tables["ix.post_counts"]:
            if (row["actor_id"], row["rkey"]) == (owner, rkey):
                return {name: row[name] for name in row if isinstance(row[name], int) and row[name]}
        return {}

    def told(self, name: str) -> list[tuple[str, str | None, str]]:
        """Notifications of an account: (reason, subject, causing record)."""
        mine = [row for row in self.view("notifications") if row["recipient_did"] == did(name)]
        return sorted((row["reason"], row["reason_subject"] or "", row["uri"]) for row in mine)

    def uris(self, view: str) -> set[str]:
        return {row["uri"] for row in self.view(view)}

    @property
    def refused(self) -> list[str]:
        return sorted(row["reason"] for row in self.tables["ix.quarantine"])


Run = Callable[[Repos], Awaitable[Found]]


@pytest.fixture(params=[1, 2_000], ids=["one by one", "at once"])
def run(database: str, request: pytest.FixtureRequest) -> Run:
    """Indexes what is new of a stream, holds the database against the oracle, and shows it."""

    async def run(net: Repos) -> Found:
        await feed(database, net.frames, batch_ops=request.param)
        await check(database, Oracle().read(net.frames))
        return Found(await contents(database))

    return run


def liked() -> tuple[Repos, str, str]:
    """E1, with the uris of the post and of the like."""
    net = Repos().does("alice", "+post/a1", post())
    a1 = net.uri("alice", "post/a1")
    return net.does("bob", "+like/l1", like(a1)), a1, net.uri("bob", "like/l1")


async def test_e1_a_like_counts_and_notifies(run: Run) -> None:
    net, a1, l1 = liked()
    found = await run(net)
    assert found.counts(a1) == {"likes": 1}
    assert found.told("alice") == [("like", a1, l1)]


async def test_e2_a_like_before_its_post_is_the_same(run: Run) -> None:
    net = Repos()
    a1 = net.uri("alice", "post/a1")
    net.does("bob", "+like/l1", like(a1)).does("alice", "+post/a1", post())
    found = await run(net)
    assert found.counts(a1) == {"likes": 1}
    assert found.told("alice") == [("like", a1, net.uri("bob", "like/l1"))]
    assert found.view("post_aggregations")[0]["like_count"] == 1


async def test_e3_a_like_that_comes_again_changes_nothing(run: Run, database: str) -> None:
    net, a1, l1 = liked()
    await run(net)
    await execute(database, f"select appview.mark_read('{did('alice')}')")
    net.again(2)
    await feed(database, net.frames)
    found = Found(await contents(database))
    assert found.counts(a1) == {"likes": 1}
    assert found.told("alice") == [("like", a1, l1)]
    assert [row["is_read"] for row in found.view("notifications")] == [True]


@pytest.mark.parametrize("commits", [1, 3], ids=["e4 one commit", "e5 three"])
async def test_e4_e5_a_like_made_again_under_another_key(run: Run, commits: int) -> None:
    net = Repos().does("alice", "+post/a1", post())
    a1 = net.uri("alice", "post/a1")
    steps: list[list[Any]] = [["+like/l1", like(a1)], ["-like/l1"], ["+like/l2", like(a1)]]
    if commits == 1:
        steps = [[part for step in steps for part in step]]
    for step in steps:
        net.does("bob", *step)
    found = await run(net)
    assert found.uris("likes") == {net.uri("bob", "like/l2")}
    assert found.counts(a1) == {"likes": 1}
    assert found.told("alice") == [("like", a1, net.uri("bob", "like/l2"))]


async def test_e6_a_second_like_is_a_shadow_until_the_first_goes(run: Run, database: str) -> None:
    net, a1, l1 = liked()
    net.does("bob", "+like/l2", like(a1))
    found = await run(net)
    assert {row["rkey"]: row["shadow"] for row in found.tables["ix.likes"]} == {"l1": False, "l2": True}
    assert found.counts(a1) == {"likes": 1}
    assert found.told("alice") == [("like", a1, l1)]
    before = await notification_ids(database)
    found = await run(net.does("bob", "-like/l1"))
    assert found.counts(a1) == {"likes": 1}
    assert found.told("alice") == [("like", a1, net.uri("bob", "like/l2"))]
    assert await notification_ids(database) == before


async def test_e7_the_smaller_key_wins_also_when_it_comes_later(run: Run) -> None:
    net, a1, _ = liked()
    found = await run(net.does("bob", "+like/l0", like(a1)))
    assert {row["rkey"]: row["shadow"] for row in found.tables["ix.likes"]} == {"l0": False, "l1": True}
    assert found.counts(a1) == {"likes": 1}
    assert found.told("alice") == [("like", a1, net.uri("bob", "like/l0"))]


async def test_e8_an_edited_like_moves_its_effects(run: Run) -> None:
    net, a1, l1 = liked()
    net.does("carol", "+post/c1", post())
    c1 = net.uri("carol", "post/c1")
    found = await run(net.does("bob", "~like/l1", like(c1)))
    assert (found.counts(a1), found.counts(c1)) == ({}, {"likes": 1})
    assert (found.told("alice"), found.told("carol")) == ([], [("like", c1, l1)])


def reposted() -> tuple[Repos, str, str, str]:
    """E9, with the uris of the post and of both reposts."""
    net = Repos().does("alice", "+post/a1", post())
    a1, r1, r2 = net.uri("alice", "post/a1"), net.uri("bob", "repost/r1"), net.uri("carol", "repost/r2")
    net.does("bob", "+repost/r1", repost(a1)).does("carol", "+repost/r2", repost(a1, via=r1))
    return net, a1, r1, r2


async def test_e9_a_repost_found_through_a_repost_notifies_both(run: Run) -> None:
    net, a1, r1, r2 = reposted()
    found = await run(net)
    assert found.counts(a1) == {"reposts": 2}
    assert found.told("alice") == sorted([("repost", a1, r1), ("repost", a1, r2)])
    assert found.told("bob") == [("repost-via-repost", r1, r2)]
    assert found.uris("feed_items") == {a1, r1, r2}


async def test_e10_a_deleted_post_leaves_the_reposts_of_others(run: Run) -> None:
    net, a1, r1, r2 = reposted()
    found = await run(net.does("alice", "-post/a1"))
    assert not found.view("posts")
    assert not found.view("feed_items")
    assert not found.view("post_aggregations")
    assert found.uris("reposts") == {r1, r2}
    assert found.counts(a1) == {"reposts": 2}


async def test_e11_a_post_made_again_has_its_reposts_back(run: Run) -> None:
    net, a1, r1, r2 = reposted()
    found = await run(net.does("alice", "-post/a1").does("alice", "+post/a1", post()))
    assert found.uris("feed_items") == {a1, r1, r2}
    assert found.counts(a1) == {"reposts": 2}
    assert found.told("alice") == sorted([("repost", a1, r1), ("repost", a1, r2)])


async def test_e12_nobody_is_notified_about_his_own_post(run: Run) -> None:
    net = Repos().does("alice", "+post/a1", post())
    a1 = net.uri("alice", "post/a1")
    found = await run(net.does("alice", "+like/l1", like(a1, via=net.uri("bob", "repost/r1"))))
    assert found.counts(a1) == {"likes": 1}
    assert not found.view("notifications")


async def test_e13_owner_and_reposter_in_one_person_is_told_once(run: Run) -> None:
    net = Repos().does("dave", "+post/d1", post())
    d1, r1 = net.uri("dave", "post/d1"), net.uri("dave", "repost/r1")
    net.does("dave", "+repost/r1", repost(d1)).does("bob", "+like/l1", like(d1, via=r1))
    found = await run(net)
    assert found.counts(d1) == {"likes": 1, "reposts": 1}
    assert found.told("dave") == [("like", d1, net.uri("bob", "like/l1"))]


async def test_e14_a_like_of_a_feed_generator_counts_on_its_key(run: Run) -> None:
    net = Repos()
    cats = f"at://{did('alice')}/app.bsky.feed.generator/cats"
    found = await run(net.does("bob", "+like/l1", like(cats)))
    (row,) = found.tables["ix.record_counts"]
    assert (row["actor_id"], row["rkey"], row["likes"]) == (did("alice"), "cats", 1)
    assert found.told("alice") == [("like", cats, net.uri("bob", "like/l1"))]


async def test_e15_a_handle_in_a_subject_is_no_reference(run: Run) -> None:
    found = await run(Repos().does("bob", "+like/l1", like("at://alice.test/app.bsky.feed.post/a1")))
    assert found.refused == ["bad_uri:subject"]
    assert not found.tables["ix.likes"]


async def test_e16_a_record_of_another_type_is_quarantined_until_it_goes(run: Run) -> None:
    net = Repos().does("alice", "+post/a1", post())
    a1 = net.uri("alice", "post/a1")
    found = await run(net.does("bob", "+like/l1", like(a1) | {"$type": REPOST}))
    assert found.refused == ["type_mismatch"]
    assert found.counts(a1) == {}
    found = await run(net.does("bob", "-like/l1"))
    assert found.refused == []


async def test_e17_an_update_to_something_invalid_withdraws_the_row(run: Run) -> None:
    net, a1, _ = liked()
    found = await run(net.does("bob", "~like/l1", {"$type": LIKE}))
    assert found.refused == ["missing_field:subject"]
    assert not found.tables["ix.likes"]
    assert found.counts(a1) == {}
    assert not found.view("notifications")


async def test_e25_an_edited_quote_moves_its_count(run: Run) -> None:
    net = Repos().does("alice", "+post/a1", post()).does("carol", "+post/c1", post())
    a1, c1 = net.uri("alice", "post/a1"), net.uri("carol", "post/c1")
    net.does("bob", "+post/b1", quoting(a1))
    found = await run(net)
    assert (found.counts(a1), found.counts(c1)) == ({"quotes": 1}, {})
    found = await run(net.does("bob", "~post/b1", quoting(c1)))
    assert (found.counts(a1), found.counts(c1)) == ({}, {"quotes": 1})
    assert [row["quoted_uri"] for row in found.view("quotes")] == [c1]


async def test_e31_nul_is_replaced_and_the_block_kept(run: Run) -> None:
    embed = {"$type": "app.bsky.embed.images", "images": [{"alt": "\0", "image": None}]}
    net = Repos().does("alice", "+post/a1", post("a\0b", embed=embed))
    found = await run(net)
    (row,), (shown,) = found.tables["ix.posts"], found.view("posts")
    assert shown["text"] == "a\x1ab"
    assert record_cid(row["raw"]) == net.cid("alice", "post/a1")
    assert cid_text(record_cid(row["raw"])) == shown["cid"]


async def test_e32_an_embed_nobody_knows_is_kept_and_means_nothing(run: Run) -> None:
    embed = {"$type": "com.example.embed", "record": strong(f"at://{did('bob')}/app.bsky.feed.post/b1")}
    found = await run(Repos().does("alice", "+post/a1", post(embed=embed)))
    (row,) = found.tables["ix.posts"]
    assert (row["media"], row["embed_actor_id"], row["raw"]) == (0, None, None)
    assert row["record"]["embed"] == embed


async def test_e33_a_broken_reply_is_no_post_and_a_long_one_is(run: Run) -> None:
    net = Repos().does("alice", "+post/a1", post(reply={}))
    net.does("alice", "+post/a2", post("x" * 4_000, langs=["en", "de", "fr", "ja", "pt"]))
    found = await run(net)
    assert found.refused == ["bad_field:reply"]
    assert found.uris("posts") == {net.uri("alice", "post/a2")}


@pytest.mark.parametrize(
    ("embed", "bits"),
    [
        ({"$type": "app.bsky.embed.gallery", "items": [{"$type": "app.bsky.embed.gallery#image"}]}, 4),
        ({"$type": "app.bsky.embed.gallery", "items": [{"$type": "com.example.item"}]}, 0),
        ({"$type": "app.bsky.embed.images", "images": []}, 1),
        (
            {
                "$type": "app.bsky.embed.recordWithMedia",
                "record": {"record": strong(f"at://{did('bob')}/app.bsky.feed.post/b1")},
                "media": {"$type": "app.bsky.embed.video"},
            },
            18,
        ),
    ],
    ids=["gallery", "unknown items", "images", "video beside a record"],
)
async def test_e34_media_is_told_in_bits(run: Run, embed: Row, bits: int) -> None:
    found = await run(Repos().does("alice", "+post/a1", post(embed=embed)))
    assert [row["media"] for row in found.tables["ix.posts"]] == [bits]


T = datetime(2026, 3, 1, 0, 0, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "created", "sort"),
    [
        ("yesterday", None, T),
        (17, None, T),
        (None, None, T),
        ("0000-01-01T00:00:00Z", None, T),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), T),
        ("9999-12-31T23:59:59-01:00", None, T),
        ("2024-05-01T09:00:00+09:00", datetime(2024, 5, 1, tzinfo=UTC), datetime(2024, 5, 1, tzinfo=UTC)),
        (
            "2024-05-01T00:00:00.123999Z",
            datetime(2024, 5, 1, 0, 0, 0, 123_000, tzinfo=UTC),
            datetime(2024, 5, 1, 0, 0, 0, 123_000, tzinfo=UTC),
        ),
        ("2024-05-01T00:00:00", datetime(2024, 5, 1, tzinfo=UTC), datetime(2024, 5, 1, tzinfo=UTC)),
        ("2024-05-01T00:00:00-00:00", None, T),
    ],
)
async def test_e37_to_e41_dates(run: Run, text: Any, created: datetime | None, sort: datetime) -> None:
    record = post(created=text)
    if text is None:
        del record["createdAt"]
    found = await run(Repos().does("alice", "+post/a1", record))
    (row,), (shown,) = found.tables["ix.posts"], found.view("posts")
    assert row["created_at"] == created
    assert row["indexed_at"] == T
    assert (shown["created_at"], shown["sort_at"]) == (created or T, sort)


def nested(depth: int) -> Any:
    """That many containers inside each other."""
    value: Any = "bottom"
    for _ in range(depth):
        value = [value]
    return {"$type": THING, "deep": value}


async def test_e42_depth_has_a_limit(run: Run) -> None:
    net = Repos().does("alice", f"+{THING}/a", nested(200), f"+{THING}/b", nested(300))
    found = await run(net)
    assert found.refused == ["record_too_deep"]
    assert found.uris("generic_records") == {net.uri("alice", f"{THING}/a")}
    assert found.view("generic_records")[0]["cid"] == cid_text(net.cid("alice", f"{THING}/a"))


async def test_e43_size_has_a_limit(run: Run) -> None:
    import libipld

    def of(size: int) -> Row:
        bare = len(libipld.encode_dag_cbor({"$type": THING, "text": "x" * 100_000}))
        return {"$type": THING, "text": "x" * (100_000 + size - bare)}

    limit = 1_048_576
    assert len(libipld.encode_dag_cbor(of(limit))) == limit
    net = Repos().does("alice", f"+{THING}/a", of(limit)).does("alice", f"+{THING}/b", of(limit + 1))
    found = await run(net)
    assert found.refused == ["record_too_big"]
    assert found.uris("generic_records") == {net.uri("alice", f"{THING}/a")}


async def test_e44_a_path_is_an_nsid_and_a_record_key(run: Run) -> None:
    net = Repos().does("alice", f"+{THING}/Ünï", {"$type": THING}, f"+{THING}/~a:b_", {"$type": THING})
    found = await run(net)
    assert found.refused == ["op_path_invalid"]
    assert found.uris("generic_records") == {net.uri("alice", f"{THING}/~a:b_")}
    found = await run(net.does("alice", f"-{THING}/Ünï"))
    assert found.refused == []


async def test_e45_only_self_is_the_profile(run: Run) -> None:
    avatar = "bafkreieuemp4gyvpkbghxz3lcrgpp6k54rj2ofskocyrruv3gd7i764jsm"
    legacy = {"$type": PROFILE, "avatar": {"cid": avatar, "mimeType": "image/jpeg"}}
    net = Repos().does("alice", "+profile/self", legacy)
    await run(net)
    found = await run(net.does("alice", "+profile/other", {"$type": PROFILE, "displayName": "not me"}))
    assert found.refused == ["bad_rkey"]
    assert [(row["avatar_url"], row["display_name"]) for row in found.view("users")] == [(avatar, None)]
    found = await run(net.does("alice", "-profile/other"))
    assert found.refused == []
    assert [row["avatar_url"] for row in found.view("users")] == [avatar]


async def test_e48_a_literal_link_key_keeps_its_block(run: Run) -> None:
    net = Repos().does("alice", f"+{THING}/a", {"$type": THING, "$link": "not a link"})
    (row,) = (await run(net)).tables["ix.generic_records"]
    assert record_cid(row["raw"]) == net.cid("alice", f"{THING}/a")


async def test_e49_a_follow_of_no_did_is_quarantined(run: Run) -> None:
    found = await run(Repos().does("bob", "+follow/f1", follow("alice")))
    assert found.refused == ["bad_did:subject"]
    assert [row["did"] for row in found.view("users")] == [did("bob")]
    assert not found.tables["ix.actor_counts"]


async def test_e50_following_oneself_counts_and_is_not_notified(run: Run) -> None:
    found = await run(Repos().does("alice", "+follow/f1", follow(did("alice"))))
    (row,) = found.tables["ix.actor_counts"]
    assert (row["followers"], row["follows"]) == (1, 1)
    assert not found.view("notifications")


async def test_e51_two_hundred_pairs_follow_each_other(run: Run) -> None:
    net = Repos()
    for pair in range(200):
        net.does(f"left {pair}", "+follow/f", follow(did(f"right {pair}")))
        net.does(f"right {pair}", "+follow/f", follow(did(f"left {pair}")))
    found = await run(net)
    assert len(found.view("follows")) == 400
    assert len(found.view("notifications")) == 400


async def test_e64_a_suspended_account_is_hidden_and_still_counts(run: Run) -> None:
    net, a1, l1 = liked()
    net.does("bob", "+follow/f1", follow(did("alice")))
    before = await run(net)
    found = await run(net.account("bob", active=False, status="suspended"))
    assert not found.view("likes")
    assert not found.view("follows")
    assert not found.view("notifications")
    assert [row["did"] for row in found.view("users")] == [did("alice")]
    assert found.counts(a1) == {"likes": 1}
    found = await run(net.account("bob", active=True))
    assert found.told("alice") == before.told("alice")
    assert found.uris("likes") == {l1}


@pytest.mark.parametrize("status", ["frozen", "a\0b"])
async def test_e67_a_status_nobody_knows_hides_and_is_kept(run: Run, database: str, status: str) -> None:
    net, _, _ = liked()
    found = await run(net.account("bob", active=False, status=status))
    assert not found.view("likes")
    assert len(found.tables["ix.likes"]) == 1
    assert [row["status"] for row in found.tables["ix.statuses"]] == [status.replace("\0", "\x1a")]


async def test_a_block_has_no_effects(run: Run) -> None:
    net, a1, l1 = liked()
    blocked = {"$type": BLOCK, "subject": did("bob"), "createdAt": "2026-02-01T00:00:00.000Z"}
    found = await run(net.does("alice", "+block/b1", blocked))
    assert found.counts(a1) == {"likes": 1}
    assert found.told("alice") == [("like", a1, l1)]
    assert [(row["blocker_did"], row["blocked_did"]) for row in found.view("blocks")] == [
        (did("alice"), did("bob"))
    ]


async def notification_ids(database: str) -> list[int]:
    import asyncpg

    connection = await asyncpg.connect(database)
    try:
        return [row[0] for row in await connection.fetch("select id from appview.notifications order by id")]
    finally:
        await connection.close()
