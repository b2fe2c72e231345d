from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firehose_indexer.errors import CommitError, Reason
from firehose_indexer.repo.car import read_car
from firehose_indexer.repo.data import cid_of
from firehose_indexer.repo.inversion import Incomplete, NetOp, invert, prove
from firehose_indexer.repo.mst import EMPTY_ROOT, decode_node, encode_node, key_height
from firehose_indexer.repo.tree import Tree, proof_blocks
from tests.repo.vectors import cid, commits, data_of, load, net_ops

CIDS = [cid_of(bytes((n,))) for n in range(8)]
RANDOM = st.integers(0, 2**32).map(random.Random)


def change(rng: random.Random, size: int, count: int) -> tuple[Tree, Tree, list[NetOp]]:
    """A tree of ``size`` random keys, what it is after ``count`` random writes, and the net ops between."""
    name = lambda: b"app.bsky.feed.post/%06d" % rng.randrange(10**6)  # noqa: E731
    old = Tree.empty()
    keys = {name() for _ in range(size)}
    for key in keys:
        old = old.put(key, rng.choice(CIDS))
    new, touched = old, set()
    for _ in range(count):
        key = rng.choice(sorted(keys)) if keys and rng.random() < 0.6 else name()
        if key in keys and rng.random() < 0.6:
            new = new.delete(key)
            keys.discard(key)
        else:
            new = new.put(key, rng.choice(CIDS))
            keys.add(key)
        touched.add(key)
    ops = [NetOp(key, new.get(key), old.get(key)) for key in touched]
    return old, new, [op for op in ops if op.cid != op.prev]


def test_fixtures_invert_with_exactly_their_blocks_and_never_to_another_root() -> None:
    dropped = 0
    for case in load("firehose/commit-proof-fixtures.json"):
        value = cid(case["leafValue"])
        old = Tree.empty()
        for key in case["keys"]:
            old = old.put(key.encode(), value)
        new = old
        for key in case["adds"]:
            new = new.put(key.encode(), value)
        for key in case["dels"]:
            new = new.delete(key.encode())
        ops = [NetOp(key.encode(), value, None) for key in case["adds"]]
        ops += [NetOp(key.encode(), None, value) for key in case["dels"]]
        blocks = {cid(text): new.blocks()[cid(text)] for text in case["blocksInProof"]}
        assert invert(new.root, blocks, ops, old.root) == old.root, case["comment"]
        for missing in blocks:
            rest = {c: block for c, block in blocks.items() if c != missing}
            dropped += 1
            try:
                assert invert(new.root, rest, ops, old.root) == old.root
            except Incomplete:
                continue
    assert dropped == 28


@settings(max_examples=150, deadline=None)
@given(RANDOM, st.sampled_from([0, 1, 3, 10, 60]), st.integers(1, 6))
def test_random_commits_invert_to_the_root_before(rng: random.Random, size: int, count: int) -> None:
    old, new, ops = change(rng, size, count)
    assert invert(new.root, new.blocks(), ops, old.root) == old.root
    assert invert(new.root, proof_blocks(old, new, [op.path for op in ops]), ops, old.root) == old.root


def test_many_ops_in_few_keys_invert_to_the_root_before() -> None:
    """Dense changes: keys taken out beside keys put in, at every level."""
    for seed in range(2_000):
        old, new, ops = change(random.Random(seed), seed % 40, 1 + seed % 8)
        assert invert(new.root, new.blocks(), ops, old.root) == old.root, seed


def test_a_key_put_back_beside_a_subtree_does_not_hide_what_changes_within_it() -> None:
    names = [b"com.example.thing/%05d" % n for n in range(30_000)]

    def pick(height: int, after: bytes) -> bytes:
        return next(name for name in names if name > after and key_height(name) == height)

    kept = pick(0, b"")
    changed = pick(0, kept)
    created = pick(2, changed)
    deleted = pick(0, created)
    edge = pick(2, deleted)
    rest = Tree.empty().put(kept, CIDS[0]).put(edge, CIDS[0])
    old = rest.put(changed, CIDS[1]).put(deleted, CIDS[2])
    new = rest.put(changed, CIDS[3]).put(created, CIDS[4])
    ops = [NetOp(path, new.get(path), old.get(path)) for path in (changed, created, deleted)]
    assert invert(new.root, new.blocks(), ops, old.root) == old.root


def test_a_record_whose_cid_is_that_of_a_subtree_is_not_taken_for_it() -> None:
    names = [b"com.example.thing/%04d" % n for n in range(3_000)]
    high = next(name for name in names[1_000:] if key_height(name) == 1)
    first, second = [name for name in names[:1_000] if key_height(name) == 0][:2]
    leaf = Tree.empty().put(first, CIDS[0]).put(second, CIDS[1])
    new = leaf.put(high, leaf.root)
    old = leaf.delete(second).put(high, leaf.root)
    assert invert(new.root, new.blocks(), [NetOp(second, CIDS[1], None)], old.root) == old.root


def test_a_hidden_rest_is_the_old_tree_only_if_the_commit_claims_so() -> None:
    names = [b"com.example.thing/%04d" % n for n in range(3_000)]
    high = next(name for name in names[1_000:] if key_height(name) == 1)
    low = next(name for name in names[:1_000] if key_height(name) == 0)
    old = Tree.empty().put(low, CIDS[0])
    new = old.put(high, CIDS[1])
    root_only = {new.root: new.blocks()[new.root]}
    ops = [NetOp(high, CIDS[1], None)]
    assert invert(new.root, root_only, ops, old.root) == old.root
    for claim in (None, EMPTY_ROOT, new.root):
        with pytest.raises(Incomplete) as caught:
            invert(new.root, root_only, ops, claim)
        assert caught.value.reason is Reason.inversion_incomplete
        assert invert(new.root, new.blocks(), ops, claim) == old.root


def test_a_subtree_out_of_its_place_is_refused_on_the_way() -> None:
    names = [b"com.example.thing/%04d" % n for n in range(3_000)]
    low = next(name for name in names[:1_000] if key_height(name) == 0)
    high = next(name for name in names[1_000:] if key_height(name) == 1)
    higher = next(name for name in names[1_000:] if key_height(name) == 2)
    leaf = encode_node([low], [CIDS[0]], [None, None])
    beyond = next(name for name in names if name > high and key_height(name) == 0)
    for key, children, path, reason in (
        (high, [None, cid_of(leaf)], beyond, Reason.mst_key_order),
        (higher, [cid_of(leaf), None], low, Reason.mst_height_mismatch),
    ):
        top = encode_node([key], [CIDS[1]], children)
        blocks = {cid_of(block): block for block in (top, leaf)}
        with pytest.raises(CommitError) as caught:
            invert(cid_of(top), blocks, [NetOp(path, None, CIDS[2])], None)
        assert caught.value.reason is reason


@settings(max_examples=4, deadline=None)
@given(RANDOM)
def test_large_commits_invert_to_the_root_before(rng: random.Random) -> None:
    old, new, ops = change(rng, 2_000, 200)
    assert invert(new.root, proof_blocks(old, new, [op.path for op in ops]), ops, old.root) == old.root


@settings(max_examples=150, deadline=None)
@given(RANDOM, st.sampled_from([2, 10, 60]), st.floats(0.3, 0.98))
def test_any_subset_of_the_blocks_gives_the_right_root_or_incomplete(
    rng: random.Random, size: int, share: float
) -> None:
    old, new, ops = change(rng, size, rng.randrange(1, 7))
    for _ in range(4):
        blocks = {c: block for c, block in new.blocks().items() if rng.random() < share}
        try:
            assert invert(new.root, blocks, ops, old.root) == old.root
        except Incomplete:
            continue


@settings(max_examples=100, deadline=None)
@given(RANDOM, st.integers(1, 40))
def test_ops_that_are_not_the_whole_truth_never_give_the_root_before(rng: random.Random, size: int) -> None:
    old, new, ops = change(rng, size, 5)
    if not ops:
        return
    untold = rng.choice(ops)
    told = [op for op in ops if op is not untold]
    assert invert(new.root, new.blocks(), told, old.root) != old.root


KEPT, GONE, FREE = b"com.example.a/1", b"com.example.a/2", b"com.example.a/3"
TREE = Tree.empty().put(KEPT, CIDS[0]).put(b"com.example.a/4", CIDS[1])


@pytest.mark.parametrize(
    "op",
    [
        NetOp(KEPT, CIDS[1], None),
        NetOp(KEPT, CIDS[1], CIDS[2]),
        NetOp(GONE, CIDS[1], None),
        NetOp(KEPT, None, CIDS[0]),
    ],
)
def test_an_op_that_contradicts_the_tree_is_a_mismatch(op: NetOp) -> None:
    for check in (
        lambda: invert(TREE.root, TREE.blocks(), [op], None),
        lambda: prove(TREE.root, TREE.blocks(), [op]),
    ):
        with pytest.raises(CommitError) as caught:
            check()
        assert caught.value.reason is Reason.op_tree_mismatch


def test_prove_accepts_what_the_tree_says_whatever_was_before() -> None:
    prove(TREE.root, TREE.blocks(), [NetOp(KEPT, CIDS[0], None), NetOp(GONE, None, None)])


def test_a_hidden_leaf_is_unprovable_and_a_contradiction_outweighs_it() -> None:
    rng = random.Random(11)
    old, new, ops = change(rng, 60, 3)
    root_only = {new.root: new.blocks()[new.root]}
    hidden = [op for op in ops if op.path not in decode_node(root_only[new.root]).keys]
    with pytest.raises(Incomplete) as caught:
        invert(new.root, root_only, hidden, old.root)
    assert caught.value.reason is Reason.op_unprovable
    shown = decode_node(root_only[new.root]).keys[0]
    with pytest.raises(CommitError) as caught_lie:
        invert(new.root, root_only, [*hidden, NetOp(shown, None, CIDS[0])], old.root)
    assert caught_lie.value.reason is Reason.op_tree_mismatch


def test_without_the_root_nothing_can_be_told() -> None:
    with pytest.raises(Incomplete):
        invert(TREE.root, {}, [NetOp(KEPT, CIDS[0], None)], EMPTY_ROOT)


def test_no_ops_need_no_block() -> None:
    assert invert(TREE.root, {}, [], None) == TREE.root


def test_a_block_of_another_hash_is_refused() -> None:
    forged = {TREE.root: encode_node([KEPT], [CIDS[3]], [None, None])}
    with pytest.raises(CommitError) as caught:
        invert(TREE.root, forged, [NetOp(KEPT, CIDS[3], None)], EMPTY_ROOT)
    assert caught.value.reason is Reason.block_hash_mismatch


def test_every_commit_of_the_recording_inverts_to_what_it_claims() -> None:
    proven = genesis = 0
    for commit in commits():
        car = read_car(commit["blocks"])
        claimed = commit.get("prevData")
        root = invert(data_of(commit), car.blocks, net_ops(commit), claimed)
        if claimed is None:
            assert root == EMPTY_ROOT
            genesis += 1
        else:
            assert root == claimed
            proven += 1
    assert (proven, genesis) == (1_466, 171)
