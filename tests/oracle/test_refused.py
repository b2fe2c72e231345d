"""What Postgres refuses for its data is found among its siblings, quarantined, and costs nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from firehose_indexer.store.lane import Lane
from tests.oracle.compare import contents
from tests.oracle.repos import Repos, did, like, post
from tests.rig import execute, feed

MARK = "refuse-me"
REFUSALS = {
    "a constraint": f"alter table ix.likes add constraint marker check (rkey <> '{MARK}')",
    "a trigger": f"""
        create function ix.refuse() returns trigger language plpgsql as
            $$ begin if new.rkey = '{MARK}' then raise sqlstate '22023'; end if; return new; end $$;
        create trigger marker before insert on ix.likes for each row execute function ix.refuse()
    """,
}


def crowd(likes: int, marked: int) -> Repos:
    """So many likes of one post, one of them under the marked key; a record of a new collection beside them."""
    net = Repos().does("alice", "+post/a1", post())
    a1 = net.uri("alice", "post/a1")
    for who in range(likes):
        net.does(f"liker {who}", f"+like/{MARK if who == marked else 'l1'}", like(a1))
    return net.does("alice", "+com.example.new/x", {"$type": "com.example.new"})


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_one_among_two_thousand_is_quarantined_and_the_rest_is_written(
    database: str, refusal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await execute(database, REFUSALS[refusal])
    searches = counted(monkeypatch)
    net = crowd(2_000, marked=777)
    await feed(database, net.frames, batch_ops=5_000)
    found = await contents(database)
    assert searches == [1]
    assert len(found["ix.likes"]) == 1_999
    assert [row["likes"] for row in found["ix.post_counts"]] == [1_999]
    (entry,) = found["ix.quarantine"]
    assert (entry["reason"], entry["did"]) == ("db_refused", did("liker 777"))
    assert entry["path"] == f"app.bsky.feed.like/{MARK}"
    assert [row["uri"] for row in found["appview.generic_records"]] == [net.uri("alice", "com.example.new/x")]


async def test_a_refused_record_ends_with_its_deletion(database: str) -> None:
    await execute(database, REFUSALS["a constraint"])
    net = crowd(20, marked=3)
    await feed(database, net.frames)
    net.does("liker 3", f"-like/{MARK}")
    await feed(database, net.frames)
    assert not (await contents(database))["ix.quarantine"]


async def test_several_refused_in_one_batch_are_all_found(database: str) -> None:
    await execute(database, "alter table ix.likes add constraint marker check (rkey not like 'bad%')")
    net = Repos().does("alice", "+post/a1", post())
    a1 = net.uri("alice", "post/a1")
    for who in range(300):
        net.does(f"liker {who}", f"+like/{'bad' if who % 50 == 7 else 'good'}{who}", like(a1))
    await feed(database, net.frames, batch_ops=5_000)
    found = await contents(database)
    assert [row["likes"] for row in found["ix.post_counts"]] == [294]
    assert sorted(row["path"] for row in found["ix.quarantine"]) == sorted(
        f"app.bsky.feed.like/bad{who}" for who in range(7, 300, 50)
    )


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How often a batch had to be searched."""
    searches = [0]
    set_aside = Lane._set_aside

    async def watched(self: Lane, *arguments: Any) -> None:
        searches[0] += 1
        await set_aside(self, *arguments)

    monkeypatch.setattr(Lane, "_set_aside", watched)
    return searches
