from __future__ import annotations

from collections import Counter
from pathlib import Path

import libipld
import pytest
from atproto import CAR, firehose_models, models, parse_subscribe_repos_message

from firehose_indexer.repo.car import read_car
from firehose_indexer.repo.keys import PublicKey
from firehose_indexer.sim import odd, wire
from firehose_indexer.sim.wire import Emitted
from firehose_indexer.sim.world import World
from firehose_indexer.stream.recording import read_frames
from tests.sim.proving import Link, prove

RECORDING = Path(__file__).parents[1] / "data" / "devnet" / "devnet-small.frames.zst"
LIKE, POST = "app.bsky.feed.like", "app.bsky.feed.post"


def key_of(world: World, did: str) -> PublicKey:
    document = world.document(did)
    assert document is not None
    return PublicKey.from_multikey(document["verificationMethod"][0]["publicKeyMultibase"])


def commits(events: list[Emitted]) -> list[dict]:
    bodies = [wire.decode(event.frame) for event in events]
    return [body for kind, body in bodies if kind == "#commit"]


@pytest.fixture(scope="module")
def odd_world() -> tuple[World, list[Emitted]]:
    world = World(seed=7, accounts=60, odd=True)
    return world, world.take(9_000)


def test_the_same_seed_gives_the_same_bytes() -> None:
    assert World(3, 20, odd=True).take(400) == World(3, 20, odd=True).take(400)


def test_another_seed_gives_other_accounts() -> None:
    assert not {event.did for event in World(3, 20).take(200)} & {
        event.did for event in World(4, 20).take(200)
    }


@pytest.mark.parametrize("history", [0, 5])
def test_parts_of_a_world_are_the_world(history: int) -> None:
    whole = World(3, 20, history=history).take(400)
    parts = [World(3, 20, history=history, part=(k, 3)) for k in range(3)]
    performed = [event for part in parts for event in (e for _ in range(500) for e in part.step())]
    assert sorted(performed)[: len(whole)] == whole


def test_seqs_have_no_gaps(odd_world: tuple[World, list[Emitted]]) -> None:
    _, events = odd_world
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert [wire.decode(event.frame)[1]["seq"] for event in events] == [event.seq for event in events]


def test_the_mix_is_that_of_the_network() -> None:
    events = World(1, 300, history=10).take(12_000)
    ops = Counter(
        "delete" if op["action"] == "delete" else op["path"].partition("/")[0]
        for body in commits(events)
        for op in body["ops"]
    )
    share = {kind: count / ops.total() for kind, count in ops.items()}
    assert share[LIKE] == pytest.approx(0.55, abs=0.03)
    assert share["app.bsky.graph.follow"] == pytest.approx(0.15, abs=0.02)
    assert share[POST] == pytest.approx(0.12, abs=0.02)
    assert share["app.bsky.feed.repost"] == pytest.approx(0.10, abs=0.02)
    assert share["delete"] == pytest.approx(0.05, abs=0.02)


def test_likes_gather_on_few_posts() -> None:
    world = World(1, 300)
    world.take(8_000)
    liked = Counter(
        libipld.decode_dag_cbor(stored.block)["subject"]["uri"]
        for (_, collection, _), stored in world.records().items()
        if collection == LIKE
    )
    top = sum(count for _, count in liked.most_common(len(liked) // 10))
    assert top > 0.25 * liked.total()


def shapes(frames: list[bytes]) -> set[tuple]:
    """Per message: the header's bytes, the fields in their order, the fields of each op."""
    found = set()
    for frame in frames:
        kind, body = wire.decode(frame)
        header = frame[: len(libipld.encode_dag_cbor({"t": kind, "op": 1}))]
        fields = tuple(name for name in body if name != "status")
        ops = tuple(sorted({(op["action"], *op) for op in body.get("ops", ())}))
        found.add((header, fields, ops if len(ops) == 1 else ()))
    return found


def test_frames_have_the_shapes_of_a_real_host(odd_world: tuple[World, list[Emitted]]) -> None:
    ours = shapes([event.frame for event in odd_world[1]])
    real = shapes(list(read_frames(RECORDING)))
    assert ours <= real
    assert len(ours) >= 8


def test_an_account_begins_as_on_the_wire() -> None:
    kinds = [wire.decode(event.frame) for event in World(1, 5).take(4)[:4]]
    assert [kind for kind, _ in kinds] == ["#identity", "#account", "#commit", "#sync"]
    assert kinds[2][1]["ops"] == []
    assert kinds[2][1]["since"] is None
    assert "prevData" not in kinds[2][1]
    assert kinds[3][1]["rev"] == kinds[2][1]["rev"]


@pytest.mark.parametrize(("history", "with_odd", "events"), [(0, True, 6_000), (40, False, 1_500)])
def test_every_commit_proves(history: int, with_odd: bool, events: int) -> None:
    world = World(7, 60, history=history, odd=with_odd)
    chain: dict[str, Link] = {}
    proven: Counter[str] = Counter()
    for event in world.take(events):
        kind, _ = wire.decode(event.frame)
        if kind in ("#commit", "#sync"):
            chain[event.did] = prove(event.frame, key_of(world, event.did), chain.get(event.did))
            proven[kind] += 1
    assert proven["#commit"] > events / 2
    assert proven["#sync"] > 0


def test_the_sdk_reads_every_frame(odd_world: tuple[World, list[Emitted]]) -> None:
    for event in odd_world[1][:1_500]:
        _, body = wire.decode(event.frame)
        frame = firehose_models.Frame.from_bytes(event.frame)
        assert isinstance(frame, firehose_models.MessageFrame)
        message = parse_subscribe_repos_message(frame)
        assert message.seq == event.seq
        assert getattr(message, "did", None) == body.get("did")
        if isinstance(message, models.ComAtprotoSyncSubscribeRepos.Commit):
            assert [op.path for op in message.ops] == [op["path"] for op in body["ops"]]
            car = CAR.from_bytes(message.blocks)
            assert car.root == message.commit
            assert car.blocks[message.commit]["rev"] == message.rev


def test_records_are_what_the_ops_say(odd_world: tuple[World, list[Emitted]]) -> None:
    world, events = odd_world
    seen: dict[tuple[str, str], tuple[bytes, int]] = {}
    for body in commits(events):
        for op in body["ops"]:
            seen.pop((body["repo"], op["path"]), None)
            if op["cid"] is not None:
                seen[body["repo"], op["path"]] = (op["cid"], body["seq"])
    gone = {did for did, account in world.accounts.items() if account.status == "deleted"}
    expected = {key: value for key, value in seen.items() if key[0] not in gone}
    records = world.records()
    assert {(did, f"{c}/{k}"): (s.cid, s.seq) for (did, c, k), s in records.items()} == expected
    assert gone
    assert len(records) > 1_000


def test_who_is_away_commits_nothing(odd_world: tuple[World, list[Emitted]]) -> None:
    away: dict[str, str] = {}
    statuses: Counter[str] = Counter()
    for event in odd_world[1]:
        kind, body = wire.decode(event.frame)
        if kind == "#account":
            away.pop(event.did, None)
            if not body["active"]:
                away[event.did] = body["status"]
                statuses[body["status"]] += 1
        assert kind != "#commit" or event.did not in away
    assert len(statuses) > 2
    assert any(account.status is None for account in odd_world[0].accounts.values())


def test_every_odd_kind_is_proven_and_kept() -> None:
    world = World(1, 1)
    did = world.take(4)[0].did
    account = world.accounts[did]
    link = None
    for number, make in enumerate(odd.KINDS):
        time = 1_800_000_000_000_000 + number * 1_000
        key = (
            f"3zzzzzzzzz{number:03d}".replace("0", "a").replace("1", "b").replace("8", "c").replace("9", "d")
        )
        signed = account.commit(time, number, make(key, did, "2026-01-01T00:00:00.000Z"))
        frame = wire.commit(
            seq=number + 1,
            did=did,
            time="2026-01-01T00:00:00.000Z",
            rev=signed.rev,
            since=signed.since,
            cid=signed.cid,
            blocks=signed.blocks,
            ops=signed.ops,
            prev_data=signed.prev_data,
        )
        link = prove(frame, key_of(world, did), link)
    assert len(account.records) == len(odd.KINDS) - 1


def test_repeats_are_duplicates_and_replacements(odd_world: tuple[World, list[Emitted]]) -> None:
    bodies = commits(odd_world[1])
    pairs = [
        [op["action"] for op in body["ops"]]
        for body in bodies
        if len({op["path"] for op in body["ops"]}) == 2
    ]
    assert ["delete", "create"] in pairs
    subjects = Counter(
        (did, libipld.decode_dag_cbor(stored.block)["subject"]["uri"])
        for (did, collection, _), stored in odd_world[0].records().items()
        if collection == LIKE and type(libipld.decode_dag_cbor(stored.block).get("subject")) is dict
    )
    assert max(subjects.values()) > 1


def test_a_path_twice_in_one_commit_is_as_the_reference_host_does_it(
    odd_world: tuple[World, list[Emitted]],
) -> None:
    twice = [b for b in commits(odd_world[1]) if len({op["path"] for op in b["ops"]}) < len(b["ops"])]
    actions = {tuple((op["action"], "prev" in op) for op in body["ops"]) for body in twice}
    assert actions == {(("create", False), ("delete", False)), (("delete", True), ("create", True))}


def test_posts_come_in_their_many_shapes() -> None:
    world = World(1, 100)
    world.take(8_000)
    found: Counter[str] = Counter()
    for (_, collection, _), stored in world.records().items():
        if collection != POST:
            continue
        post = libipld.decode_dag_cbor(stored.block)
        found.update(name for name in ("reply", "facets", "langs", "labels", "tags") if name in post)
        found[post.get("embed", {}).get("$type", "no embed")] += 1
        text = post["text"].encode()
        for facet in post.get("facets", ()):
            (feature,) = facet["features"]
            found[feature["$type"]] += 1
            part = text[facet["index"]["byteStart"] : facet["index"]["byteEnd"]].decode()
            assert part[0] in "@#e"
    assert {
        "reply",
        "langs",
        "labels",
        "tags",
        "app.bsky.embed.images",
        "app.bsky.embed.external",
        "app.bsky.embed.video",
        "app.bsky.embed.record",
        "app.bsky.embed.recordWithMedia",
        "app.bsky.richtext.facet#mention",
        "app.bsky.richtext.facet#link",
        "app.bsky.richtext.facet#tag",
    } <= set(found)


def reference_types(frames: list[bytes]) -> set[tuple]:
    """Per collection, the field types of the strong references in its records."""
    found = set()
    for frame in frames:
        kind, body = wire.decode(frame)
        if kind != "#commit":
            continue
        blocks = read_car(body["blocks"]).blocks
        for op in body["ops"]:
            collection = op["path"].partition("/")[0]
            if collection in (LIKE, "app.bsky.feed.repost") and op["cid"] in blocks:
                subject = libipld.decode_dag_cbor(blocks[op["cid"]])["subject"]
                found.add((collection, *sorted((name, type(value)) for name, value in subject.items())))
    return found


def test_references_have_the_types_of_a_real_host() -> None:
    ours = reference_types([event.frame for event in World(7, 60).take(1_000)])
    assert len(ours) == 2
    assert ours <= reference_types(list(read_frames(RECORDING))[:1_600])
