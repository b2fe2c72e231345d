from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firehose_indexer.repo.data import cid_of
from firehose_indexer.repo.mst import EMPTY_NODE, EMPTY_ROOT, walk
from firehose_indexer.repo.tree import Tree, new_blocks, proof_blocks
from tests.repo.vectors import cid, lines, load

CIDS = [cid_of(bytes((n,))) for n in range(4)]


def build(items: dict[bytes, bytes]) -> Tree:
    tree = Tree.empty()
    for key, value in items.items():
        tree = tree.put(key, value)
    return tree


def test_any_order_of_insertion_gives_the_same_root() -> None:
    keys = [key.encode() for key in lines("mst/example_keys.txt")]
    rng = random.Random(3)
    roots = set()
    for _ in range(10):
        rng.shuffle(keys)
        roots.add(build(dict.fromkeys(keys, CIDS[0])).root)
    assert len(roots) == 1


def test_commit_fixtures_give_their_roots() -> None:
    cases = load("firehose/commit-proof-fixtures.json")
    assert len(cases) == 6
    for case in cases:
        value = cid(case["leafValue"])
        tree = build({key.encode(): value for key in case["keys"]})
        assert tree.root == cid(case["rootBeforeCommit"]), case["comment"]
        for key in case["adds"]:
            tree = tree.put(key.encode(), value)
        for key in case["dels"]:
            tree = tree.delete(key.encode())
        assert tree.root == cid(case["rootAfterCommit"]), case["comment"]


def test_proof_blocks_are_those_of_the_fixtures() -> None:
    for case in load("firehose/commit-proof-fixtures.json"):
        value = cid(case["leafValue"])
        old = build({key.encode(): value for key in case["keys"]})
        new = old
        for key in case["adds"]:
            new = new.put(key.encode(), value)
        for key in case["dels"]:
            new = new.delete(key.encode())
        proof = proof_blocks(old, new, [key.encode() for key in case["adds"] + case["dels"]])
        assert set(proof) == {cid(text) for text in case["blocksInProof"]}, case["comment"]


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.integers(0, 400).map(lambda n: b"com.example.k/%d" % n), st.sampled_from(CIDS), max_size=80
    ),
    st.data(),
)
def test_a_tree_is_a_function_of_its_contents(contents: dict[bytes, bytes], data: st.DataObject) -> None:
    tree = build(contents)
    assert list(tree.items()) == sorted(contents.items())
    assert list(walk(tree.root, tree.blocks().get)) == sorted(contents.items())
    rest = dict(contents)
    for key in data.draw(st.permutations(sorted(contents)))[: len(contents) // 2]:
        del rest[key]
        smaller = tree.delete(key)
        assert tree.get(key) == contents[key]
        assert smaller.get(key) is None
        old_blocks, blocks = tree.blocks(), smaller.blocks()
        assert new_blocks(tree, smaller) == {c: b for c, b in blocks.items() if c not in old_blocks}
        tree = smaller
    assert tree.root == build(rest).root


def test_the_empty_tree_comes_back() -> None:
    tree = build({b"a/1": CIDS[0], b"a/2": CIDS[1]})
    emptied = tree.delete(b"a/1").delete(b"a/2")
    assert emptied.root == EMPTY_ROOT
    assert emptied.blocks() == new_blocks(tree, emptied) == {EMPTY_ROOT: EMPTY_NODE}


def test_putting_the_same_value_changes_no_block() -> None:
    tree = build({b"a/%d" % n: CIDS[0] for n in range(50)})
    assert new_blocks(tree, tree.put(b"a/7", CIDS[0])) == {}


@pytest.mark.parametrize("items", [{}, {b"a/1": CIDS[0]}])
def test_deleting_an_absent_key_is_an_error(items: dict[bytes, bytes]) -> None:
    with pytest.raises(KeyError):
        build(items).delete(b"a/2")
