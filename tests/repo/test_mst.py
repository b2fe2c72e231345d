from __future__ import annotations

import itertools
import random

import pytest

from firehose_indexer.errors import CommitError, Reason
from firehose_indexer.repo.data import cid_of
from firehose_indexer.repo.mst import (
    EMPTY_NODE,
    EMPTY_ROOT,
    MAX_ENTRIES,
    Node,
    common_prefix,
    decode_node,
    encode_node,
    key_height,
    read_node,
    walk,
)
from firehose_indexer.repo.tree import Tree
from tests.repo.vectors import cid, lines, load

VALUE = cid_of(b"a record")
CHILD = cid_of(b"a subtree")


def keys_of_height(height: int, count: int, prefix: str = "com.example.thing/") -> list[bytes]:
    made = (f"{prefix}{number:06}".encode() for number in itertools.count())
    return list(itertools.islice((key for key in made if key_height(key) == height), count))


def refused(block: bytes) -> Reason:
    with pytest.raises(CommitError) as caught:
        decode_node(block)
    return caught.value.reason


def entry(
    k: bytes, p: bytes = b"\x00", t: bytes = b"\xf6", v: bytes = b"\xd8\x2a\x58\x25\x00" + VALUE
) -> bytes:
    assert len(k) < 24
    return b"\xa4\x61k" + bytes((0x40 | len(k),)) + k + b"\x61p" + p + b"\x61t" + t + b"\x61v" + v


def node(*entries: bytes, left: bytes = b"\xf6") -> bytes:
    return b"\xa2\x61e" + bytes((0x80 | len(entries),)) + b"".join(entries) + b"\x61l" + left


def test_heights_equal_the_vectors() -> None:
    cases = load("mst/key_heights.json")
    assert len(cases) == 9
    for case in cases:
        assert key_height(case["key"].encode()) == case["height"], case


def test_common_prefixes_equal_the_vectors() -> None:
    cases = load("mst/common_prefix.json")
    assert len(cases) == 13
    for case in cases:
        assert common_prefix(case["left"].encode(), case["right"].encode()) == case["len"], case


def test_the_digit_of_an_example_key_is_its_height() -> None:
    keys = lines("mst/example_keys.txt")
    assert len(keys) == 156
    assert all(key_height(key.encode()) == int(key[1]) for key in keys)


def test_the_empty_tree_has_the_known_root() -> None:
    assert cid("bafyreie5737gdxlw5i64vzichcalba3z2v5n6icifvx5xytvske7mr3hpm") == EMPTY_ROOT
    assert decode_node(EMPTY_NODE) == Node([], [], [None], None)
    assert list(walk(EMPTY_ROOT, {EMPTY_ROOT: EMPTY_NODE}.get)) == []


def test_a_node_reads_back_as_it_was_written() -> None:
    keys = keys_of_height(1, 5)
    children = [CHILD, None, CHILD, None, None, CHILD]
    block = encode_node(keys, [VALUE] * 5, children)
    assert decode_node(block) == Node(keys, [VALUE] * 5, children, 1)


def test_a_key_that_looks_like_a_cid_reads_back() -> None:
    keys = [key for key in (VALUE + bytes((n,)) for n in range(200)) if key_height(key) == 0][:2]
    block = encode_node(keys, [VALUE] * 2, [None] * 3)
    assert decode_node(block).keys == keys


def test_a_link_in_place_of_a_key_is_refused() -> None:
    link = b"\xd8\x2a\x58\x25\x00" + VALUE
    good = encode_node([VALUE], [VALUE], [None, None])
    forged = good.replace(b"\x61k\x58\x24" + VALUE, b"\x61k" + link)
    assert forged != good
    assert refused(forged) is Reason.mst_node_invalid


A, B = keys_of_height(0, 2, "k/")
HIGH = keys_of_height(1, 1, "k/0")[0]


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        (b"", Reason.mst_node_invalid),
        (b"\x80", Reason.mst_node_invalid),
        (b"\xa0", Reason.mst_node_invalid),
        (b"\xa1\x61e\x80", Reason.mst_node_invalid),
        (b"\xa1\x61l\xf6", Reason.mst_node_invalid),
        (b"\xa2\x61e\xa0\x61l\xf6", Reason.mst_node_invalid),
        (b"\xa3\x61e\x80\x61l\xf6\x61z\x00", Reason.mst_node_invalid),
        (b"\xa2\x61l\xf6\x61e\x80", Reason.mst_node_invalid),
        (b"\xa2\x61e\x98\x00\x61l\xf6", Reason.mst_node_invalid),
        (EMPTY_NODE + b"\x00", Reason.mst_node_invalid),
        (node(b"\xa0"), Reason.mst_node_invalid),
        (node(entry(A, p=b"\xf4")), Reason.mst_node_invalid),
        (node(entry(A, p=b"\x18\x00")), Reason.mst_node_invalid),
        (node(entry(A, v=b"\x58\x24" + VALUE)), Reason.mst_node_invalid),
        (node(entry(A, t=b"\x58\x24" + VALUE)), Reason.mst_height_mismatch),
        (node(entry(A), left=b"\x01"), Reason.cid_not_blessed),
        (node(entry(A, v=b"\xf6")), Reason.cid_not_blessed),
        (node(entry(A, v=b"\xd8\x2a\x58\x25\x00\x01\x55" + VALUE[2:])), Reason.cid_not_blessed),
        (node(entry(b"")), Reason.mst_key_invalid),
        (node(entry(A, p=b"\x01")), Reason.mst_prefix_invalid),
        (node(entry(A, p=b"\x20")), Reason.mst_prefix_invalid),
        (node(entry(A), entry(B)), Reason.mst_prefix_invalid),
        (node(entry(A), entry(b"x", p=b"\x17")), Reason.mst_prefix_invalid),
        (node(entry(A), entry(b"", p=b"\x08")), Reason.mst_key_order),
        (node(entry(A), entry(b"j/0")), Reason.mst_key_order),
        (node(entry(B), entry(A)), Reason.mst_prefix_invalid),
        (node(entry(HIGH), entry(b"l/" + B)), Reason.mst_height_mismatch),
        (node(entry(A, t=b"\xd8\x2a\x58\x25\x00" + CHILD)), Reason.mst_height_mismatch),
        (node(entry(A), left=b"\xd8\x2a\x58\x25\x00" + CHILD), Reason.mst_height_mismatch),
    ],
)
def test_a_malformed_node_is_refused_with_its_reason(block: bytes, reason: Reason) -> None:
    assert refused(block) is reason


def test_a_key_of_1024_bytes_is_the_longest() -> None:
    longest = keys_of_height(0, 1, "k/".ljust(1018, "x"))[0]
    assert len(longest) == 1024
    assert decode_node(encode_node([longest], [VALUE], [None, None])).keys == [longest]
    longer = node(entry(b"x" * 3)).replace(b"\x43xxx", b"\x59\x04\x01" + b"x" * 1025)
    assert refused(longer) is Reason.mst_key_invalid


def test_a_node_that_is_too_wide_or_too_big_is_refused() -> None:
    wide = b"\xa2\x61e\x99" + (MAX_ENTRIES + 1).to_bytes(2) + b"\xf6" * (MAX_ENTRIES + 1) + b"\x61l\xf6"
    assert refused(wide) is Reason.mst_too_wide
    assert refused(b"\xa2" * 1_048_577) is Reason.mst_too_wide


def example() -> Tree:
    tree = Tree.empty()
    for key in lines("mst/example_keys.txt"):
        tree = tree.put(key.encode(), VALUE)
    return tree


def test_a_walk_gives_every_key_in_order() -> None:
    tree = example()
    assert [key.decode() for key, _ in walk(tree.root, tree.blocks().get)] == lines("mst/example_keys.txt")


def test_a_walk_tells_every_missing_node() -> None:
    tree = example()
    blocks = tree.blocks()
    for missing in blocks:
        rest = {cid: block for cid, block in blocks.items() if cid != missing}
        with pytest.raises(CommitError) as caught:
            list(walk(tree.root, rest.get))
        assert caught.value.reason is Reason.repo_incomplete


def test_a_walk_refuses_a_subtree_out_of_its_place() -> None:
    high = keys_of_height(2, 1)[0]
    low = keys_of_height(0, 1, "zzz.example.thing/")[0]
    leaf = encode_node([low], [VALUE], [None, None])
    bridge = encode_node([], [], [cid_of(leaf)])
    hollow = encode_node([], [], [None])
    cases = [
        ([None, cid_of(bridge)], None),
        ([cid_of(bridge), None], Reason.mst_key_order),
        ([None, cid_of(leaf)], Reason.mst_height_mismatch),
        ([None, cid_of(hollow)], Reason.mst_empty_node),
    ]
    for children, reason in cases:
        top = encode_node([high], [VALUE], children)
        blocks = {cid_of(block): block for block in (top, leaf, bridge, hollow)}
        if reason is None:
            assert [key for key, _ in walk(cid_of(top), blocks.get)] == [high, low]
            continue
        with pytest.raises(CommitError) as caught:
            list(walk(cid_of(top), blocks.get))
        assert caught.value.reason is reason


def test_a_root_without_keys_is_refused() -> None:
    leaf = encode_node([A], [VALUE], [None, None])
    root = encode_node([], [], [cid_of(leaf)])
    with pytest.raises(CommitError) as caught:
        list(walk(cid_of(root), {cid_of(block): block for block in (leaf, root)}.get))
    assert caught.value.reason is Reason.mst_empty_node


def test_every_changed_bit_of_a_node_is_refused() -> None:
    """By its hash always; and where the hash is made to fit, a change either breaks the node or is another node."""
    tree = example()
    block = random.Random(7).choice(sorted(tree.blocks().values()))
    before = decode_node(block)
    for at, bit in itertools.product(range(len(block)), range(8)):
        changed = bytearray(block)
        changed[at] ^= 1 << bit
        with pytest.raises(CommitError) as caught:
            read_node(cid_of(block), bytes(changed))
        assert caught.value.reason is Reason.block_hash_mismatch
        try:
            after = decode_node(bytes(changed))
        except CommitError:
            continue
        assert after != before
        assert encode_node(after.keys, after.values, after.children) == changed
