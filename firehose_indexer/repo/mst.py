"""Merkle search tree nodes: reading, writing and the invariants (spec/protocol §5.2).

A node is keys and the gaps around them::

    children[0]  keys[0]  children[1]  keys[1]  …  children[n]
       "l"        e[0]       e[0].t      e[1]        e[n-1].t

``Node`` has been checked on its own (shape, order, prefixes, heights). What only its place in a tree can tell,
its level and the bounds of its keys, is checked by ``place``.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

import libipld

from firehose_indexer.errors import CommitError, Reason
from firehose_indexer.repo.data import cid_of, is_blessed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

MAX_LEVEL = 64
MAX_ENTRIES = 16_384
MAX_NODE_BYTES = 1_048_576
MAX_KEY_BYTES = 1024

FIRST = b""
"""Sorts before every legal key."""
LAST = b"\xff" * (MAX_KEY_BYTES + 1)
"""Sorts after every legal key."""


class Node(NamedTuple):
    """One decoded node. ``height`` is None for a node that only bridges a gap of levels (no keys)."""

    keys: list[bytes]
    values: list[bytes]
    children: list[bytes | None]
    height: int | None


def key_height(key: bytes) -> int:
    """Level of a key: pairs of leading zero bits of its SHA-256."""
    return (256 - int.from_bytes(sha256(key).digest()).bit_length()) // 2


def common_prefix(left: bytes, right: bytes) -> int:
    """Number of leading bytes that two keys share."""
    n = min(len(left), len(right))
    differing = int.from_bytes(left[:n]) ^ int.from_bytes(right[:n])
    return n - (differing.bit_length() + 7) // 8


def _head(major: int, n: int) -> bytes:
    if n < 24:
        return bytes([major << 5 | n])
    if n < 256:
        return bytes([major << 5 | 24, n])
    return bytes([major << 5 | 25]) + n.to_bytes(2)


_UINT = tuple(_head(0, n) for n in range(MAX_KEY_BYTES + 1))
_BYTES = tuple(_head(2, n) for n in range(MAX_KEY_BYTES + 1))
_LINK = b"\xd8\x2a\x58\x25\x00"
_NULL = b"\xf6"


def encode_node(keys: Sequence[bytes], values: Sequence[bytes], children: Sequence[bytes | None]) -> bytes:
    """The one DAG-CBOR form of a node; ``len(children) == len(keys) + 1``."""
    parts = [b"\xa2\x61e", _head(4, len(keys))]
    previous = b""
    for i, key in enumerate(keys):
        shared = common_prefix(previous, key)
        child = children[i + 1]
        parts += (
            b"\xa4\x61k",
            _BYTES[len(key) - shared],
            key[shared:],
            b"\x61p",
            _UINT[shared],
            b"\x61t",
            _NULL if child is None else _LINK + child,
            b"\x61v",
            _LINK,
            values[i],
        )
        previous = key
    first = children[0]
    parts += (b"\x61l", _NULL if first is None else _LINK + first)
    return b"".join(parts)


EMPTY_NODE = encode_node([], [], [None])
EMPTY_ROOT = cid_of(EMPTY_NODE)
"""Root CID of the tree without keys."""


def decode_node(block: bytes) -> Node:
    """Read a node and check all that can be seen without its neighbours.

    Raises CommitError: mst_node_invalid, mst_key_invalid, mst_key_order, mst_prefix_invalid,
    mst_height_mismatch, mst_too_deep, mst_too_wide, cid_not_blessed.
    """
    if len(block) > MAX_NODE_BYTES:
        raise CommitError(Reason.mst_too_wide, f"{len(block)} bytes")
    try:
        fields = libipld.decode_dag_cbor(block)
        entries = fields["e"]
        first = fields["l"]
        if len(fields) != 2 or type(entries) is not list:
            raise CommitError(Reason.mst_node_invalid, "shape")
        if len(entries) > MAX_ENTRIES:
            raise CommitError(Reason.mst_too_wide, f"{len(entries)} entries")
        node = _read_entries(entries, first)
        exact = libipld.encode_dag_cbor(fields) == block
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CommitError(Reason.mst_node_invalid, "not a node") from error
    # The library writes a suffix that looks like a CID as a link, and reads a link back as bytes:
    # for a suffix that does not begin as legal keys do, only our own encoder decides.
    if not exact or any(not 0x2D <= entry["k"][0] < 0x7F for entry in entries):
        exact = encode_node(node.keys, node.values, node.children) == block
    if not exact:
        raise CommitError(Reason.mst_node_invalid, "not canonical")
    return node


def _read_entries(entries: list[dict[str, object]], first: object) -> Node:
    keys: list[bytes] = []
    values: list[bytes] = []
    children: list[bytes | None] = [_link(first)]
    height: int | None = None
    key = b""
    for entry in entries:
        suffix, shared, value = entry["k"], entry["p"], entry["v"]
        if type(suffix) is not bytes or type(shared) is not int or len(entry) != 4:
            raise CommitError(Reason.mst_node_invalid, "entry shape")
        key = _next_key(key, shared, suffix, first=not keys)
        if not is_blessed(value):
            raise CommitError(Reason.cid_not_blessed, "value")
        level = key_height(key)
        if level != height:
            if height is not None:
                raise CommitError(Reason.mst_height_mismatch, "keys of one node")
            height = level
        keys.append(key)
        values.append(value)
        children.append(_link(entry["t"]))
    if height is not None:
        if height >= MAX_LEVEL:
            raise CommitError(Reason.mst_too_deep, f"level {height}")
        if height == 0 and any(children):
            raise CommitError(Reason.mst_height_mismatch, "child at level 0")
    return Node(keys, values, children, height)


def _next_key(previous: bytes, shared: int, suffix: bytes, *, first: bool) -> bytes:
    """The key that ``shared`` bytes of the one before and ``suffix`` spell."""
    if not 0 <= shared <= len(previous):
        raise CommitError(Reason.mst_prefix_invalid, "longer than the previous key")
    if not 0 < shared + len(suffix) <= MAX_KEY_BYTES:
        raise CommitError(Reason.mst_key_invalid, f"{shared + len(suffix)} bytes")
    if first:
        return suffix
    if not suffix:
        raise CommitError(Reason.mst_key_order, "within a node")
    if shared < len(previous):
        if suffix[0] == previous[shared]:
            raise CommitError(Reason.mst_prefix_invalid, "not maximal")
        if suffix[0] < previous[shared]:
            raise CommitError(Reason.mst_key_order, "within a node")
    return previous[:shared] + suffix


def _link(value: object) -> bytes | None:
    if value is None:
        return None
    if not is_blessed(value):
        raise CommitError(Reason.cid_not_blessed, "subtree")
    return value


def read_node(cid: bytes, block: bytes) -> Node:
    """``decode_node`` of a block that must hash to ``cid``. Raises also block_hash_mismatch."""
    if sha256(block).digest() != cid[4:]:
        raise CommitError(Reason.block_hash_mismatch, "tree node")
    return decode_node(block)


def root_level(node: Node) -> int:
    """Level of a node that is a root; -1 for the empty tree. Raises mst_empty_node."""
    if node.height is not None:
        return node.height
    if node.children[0] is not None:
        raise CommitError(Reason.mst_empty_node, "root without keys")
    return -1


def place(node: Node, level: int, low: bytes, high: bytes) -> None:
    """Check a node below the root against its place: its level, and ``low`` < every key < ``high``.

    Raises CommitError: mst_height_mismatch, mst_key_order, mst_empty_node.
    """
    if not node.keys:
        if node.children[0] is None:
            raise CommitError(Reason.mst_empty_node, "below the root")
        if level <= 0:
            raise CommitError(Reason.mst_height_mismatch, "child at level 0")
    elif node.height != level:
        raise CommitError(Reason.mst_height_mismatch, f"level {node.height} at level {level}")
    elif not (low < node.keys[0] and node.keys[-1] < high):
        raise CommitError(Reason.mst_key_order, "across subtrees")


def walk(root: bytes, get_block: Callable[[bytes], bytes | None]) -> Iterator[tuple[bytes, bytes]]:
    """Every (key, record CID) of a whole tree in key order, each node hashed and checked (spec/protocol §7.2).

    Raises CommitError: repo_incomplete when ``get_block`` has not got a node, and what ``read_node`` and
    ``place`` raise. What was yielded before an error is not proof of anything.
    """

    def load(cid: bytes) -> Node:
        block = get_block(cid)
        if block is None:
            raise CommitError(Reason.repo_incomplete, "tree node missing")
        return read_node(cid, block)

    top = load(root)
    # One frame per open node: the node, its level, its bounds, and the next child to enter.
    stack = [(top, root_level(top), FIRST, LAST, 0)]
    while stack:
        node, level, low, high, i = stack.pop()
        keys = node.keys
        if i > 0:
            yield keys[i - 1], node.values[i - 1]
        if i < len(keys):
            stack.append((node, level, low, high, i + 1))
        child = node.children[i]
        if child is not None:
            below = load(child)
            left = keys[i - 1] if i > 0 else low
            right = keys[i] if i < len(keys) else high
            place(below, level - 1, left, right)
            stack.append((below, level - 1, left, right, 0))
