"""Proof that a commit's ops, and nothing else, lead from one tree to the next (spec/protocol §5.4).

``invert`` takes the tree after a commit, as far as the commit's blocks show it, takes the ops back, and gives the
root before. A tree is a function of its keys, so the ops are not replayed: each level is rebuilt once, from the top.

A *region* is what lies between two neighbouring keys of the level above: normally one subtree. A key taken out joins
the regions on its sides (several parts, side by side), a key put in cuts its region in two (parts, seen through a
window). A region of one part that no op and no cut touches keeps its CID and is never opened; a block is read and
hashed only where the rebuilding needs it.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple

from firehose_indexer.errors import CommitError, Reason
from firehose_indexer.repo.data import cid_of
from firehose_indexer.repo.mst import (
    EMPTY_ROOT,
    FIRST,
    LAST,
    Node,
    encode_node,
    key_height,
    place,
    read_node,
    root_level,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Incomplete(CommitError):
    """The blocks do not suffice to tell: op_unprovable or inversion_incomplete. Says nothing against the commit."""


class NetOp(NamedTuple):
    """What a commit did to one path in the end: its record CID after and before, None where there was none.

    Both are never None, and they differ (a net nothing is no op). A path has one op.
    """

    path: bytes
    cid: bytes | None
    prev: bytes | None


class _Part(NamedTuple):
    """A subtree at its place: its CID, its level, and the keys between which all of its own lie."""

    cid: bytes
    level: int
    low: bytes
    high: bytes


class _Region(NamedTuple):
    """Neighbouring subtrees, seen through a window: only keys between ``low`` and ``high`` count."""

    parts: list[_Part]
    low: bytes
    high: bytes
    ops: list[tuple[int, NetOp]]
    """In key order, each with the height of its key."""

    def alone(self, level: int) -> _Part | None:
        """The one subtree that the region is, if its own keys stay as they are; else None."""
        if len(self.parts) != 1:
            return None
        part = self.parts[0]
        if part.level != level:
            return None
        if not self.ops:
            return part if self.low <= part.low and part.high <= self.high else None
        # An op beside the part, where a key was taken out, is not the part's business.
        fits = self.low == part.low and part.high == self.high
        return part if fits and all(height != level for height, _ in self.ops) else None


class _Visible:
    """The part of a tree that a commit's blocks show. Nodes are read once, their place is checked every time."""

    def __init__(self, root: bytes, blocks: Mapping[bytes, bytes]) -> None:
        self.blocks = blocks
        self.nodes: dict[bytes, Node] = {}
        self.root = root

    def top(self) -> tuple[Node, int] | None:
        """The root node and its level, None if its block is missing."""
        node = self._read(self.root)
        return None if node is None else (node, root_level(node))

    def open(self, part: _Part) -> Node | None:
        """A node with keys or above one, None if its block is missing. Raises what it breaks of §5.2."""
        node = self._read(part.cid)
        if node is not None:
            place(node, part.level, part.low, part.high)
        return node

    def _read(self, cid: bytes) -> Node | None:
        node = self.nodes.get(cid)
        if node is None:
            block = self.blocks.get(cid)
            if block is None:
                return None
            node = self.nodes[cid] = read_node(cid, block)
        return node


def invert(
    root: bytes, blocks: Mapping[bytes, bytes], ops: Sequence[NetOp], prev_data: bytes | None
) -> bytes:
    """Root CID of the tree before ``ops``, given the tree after them.

    ``blocks`` need not be hashed: each one used is checked against its CID. ``prev_data``, the root that the commit
    claims, only settles the one case where a subtree that cannot be opened is all that remains.

    Raises Incomplete (op_unprovable, inversion_incomplete), and CommitError: op_tree_mismatch, block_hash_mismatch,
    cid_not_blessed, mst_*.
    """
    if not ops:
        return root
    visible = _Visible(root, blocks)
    _prove(visible, ops)
    top = visible.top()
    if top is None:
        raise Incomplete(Reason.inversion_incomplete, "root")
    ranked = sorted(((key_height(op.path), op) for op in ops), key=lambda item: item[1].path)
    level = top[1]
    parts = [_Part(root, level, FIRST, LAST)] if level >= 0 else []
    return _root(visible, _Region(parts, FIRST, LAST, ranked), prev_data)


def prove(root: bytes, blocks: Mapping[bytes, bytes], ops: Sequence[NetOp]) -> None:
    """Check only that the tree after the commit says what the ops say; ``prev`` is not looked at.

    For commits that cannot be inverted because the producer left out what they replaced.
    Raises Incomplete (op_unprovable), and what ``invert`` raises.
    """
    _prove(_Visible(root, blocks), ops)


def _prove(visible: _Visible, ops: Sequence[NetOp]) -> None:
    hidden = False
    for op in ops:
        # A contradiction outweighs a missing block, so every op is looked at before giving up.
        found = _find(visible, op.path)
        if isinstance(found, Incomplete):
            hidden = True
        elif found != op.cid:
            raise CommitError(Reason.op_tree_mismatch)
    if hidden:
        raise Incomplete(Reason.op_unprovable)


def _find(visible: _Visible, path: bytes) -> bytes | Incomplete | None:
    """Record CID at ``path``, None where it is absent, Incomplete where the way there is not shown."""
    top = visible.top()
    if top is None:
        return Incomplete(Reason.op_unprovable)
    node, level = top
    low, high = FIRST, LAST
    while True:
        i = bisect_left(node.keys, path)
        if i < len(node.keys):
            high = node.keys[i]
            if high == path:
                return node.values[i]
        if i > 0:
            low = node.keys[i - 1]
        child = node.children[i]
        if child is None:
            return None
        level -= 1
        below = visible.open(_Part(child, level, low, high))
        if below is None:
            return Incomplete(Reason.op_unprovable)
        node = below


def _root(visible: _Visible, region: _Region, prev_data: bytes | None) -> bytes:
    """CID of the smallest tree that holds a region: go down from the highest level that can have a key."""
    level = max(
        *(part.level for part in region.parts), *(height for height, op in region.ops if op.prev), -1, -1
    )
    while region.parts or region.ops:
        part = region.alone(level)
        if part is not None:
            node = visible.open(part)
            if node is None and part.cid != prev_data:
                raise Incomplete(Reason.inversion_incomplete, "root")
            if node is None or node.keys:
                return _close(visible, region, level) or EMPTY_ROOT
        keys, values, gaps = _open(visible, region, level)
        if keys:
            return cid_of(encode_node(keys, values, [_close(visible, gap, level - 1) for gap in gaps]))
        region = gaps[0]
        level -= 1
    return EMPTY_ROOT


def _close(visible: _Visible, region: _Region, level: int) -> bytes | None:
    """CID of the node at ``level`` that holds a region, None if nothing is left in it."""
    if not region.parts and not region.ops:
        return None
    part = region.alone(level)
    if part is not None:
        return part.cid if not region.ops else _pass(visible, part, region.ops)
    keys, values, gaps = _open(visible, region, level)
    children = [_close(visible, gap, level - 1) for gap in gaps]
    if not keys and children[0] is None:
        return None
    return cid_of(encode_node(keys, values, children))


def _pass(visible: _Visible, part: _Part, ops: list[tuple[int, NetOp]]) -> bytes | None:
    """``_close`` for a node that keeps its keys: only subtrees change, usually one, and only in its CID."""
    node = _must_open(visible, part)
    keys, values, children = node.keys, node.values, node.children.copy()
    block: bytes | None = visible.blocks[part.cid]
    start = 0
    while start < len(ops):
        i = bisect_left(keys, ops[start][1].path)
        low = keys[i - 1] if i > 0 else part.low
        high = keys[i] if i < len(keys) else part.high
        end = start + 1
        while end < len(ops) and ops[end][1].path < high:
            end += 1
        before = children[i]
        parts = [] if before is None else [_Part(before, part.level - 1, low, high)]
        after = _close(visible, _Region(parts, low, high, ops[start:end]), part.level - 1)
        children[i] = after
        # A link that occurs once is swapped where it stands: no need to encode the node again.
        if block is not None and before is not None and after is not None and block.count(before) == 1:
            block = block.replace(before, after)
        else:
            block = None
        start = end
    if not keys and children[0] is None:
        return None
    return cid_of(block if block is not None else encode_node(keys, values, children))


def _must_open(visible: _Visible, part: _Part) -> Node:
    node = visible.open(part)
    if node is None:
        raise Incomplete(Reason.inversion_incomplete)
    return node


def _open(visible: _Visible, region: _Region, level: int) -> tuple[list[bytes], list[bytes], list[_Region]]:
    """Keys and values of a region at its own level after the edit, and the regions around them."""
    keys, values, gaps = _gather(visible, region, level)
    for height, op in region.ops:
        if height != level:
            continue
        i = bisect_left(keys, op.path)
        if op.prev is None:
            del keys[i], values[i]
            gaps[i : i + 2] = [gaps[i] + gaps[i + 1]]
        elif op.cid is None:
            keys.insert(i, op.path)
            values.insert(i, op.prev)
            left = [part for part in gaps[i] if part.low < op.path]
            right = [part for part in gaps[i] if part.high > op.path]
            gaps[i : i + 1] = [left, right]
        else:
            values[i] = op.prev
    below = [item for item in region.ops if item[0] < level]
    edges = [region.low, *keys, region.high]
    return (
        keys,
        values,
        [
            _Region(parts, low, high, [item for item in below if low < item[1].path < high])
            for parts, low, high in zip(gaps, edges[:-1], edges[1:], strict=True)
        ],
    )


def _gather(
    visible: _Visible, region: _Region, level: int
) -> tuple[list[bytes], list[bytes], list[list[_Part]]]:
    """What stands in a region at its own level: keys, values, and the parts in the gaps around them."""
    keys: list[bytes] = []
    values: list[bytes] = []
    gaps: list[list[_Part]] = [[]]
    for part in region.parts:
        if part.level < level:
            # The root of a tree that was higher before: nothing of it reaches this level.
            gaps[-1].append(part)
            continue
        node = _must_open(visible, part)
        edges = [part.low, *node.keys, part.high]
        for i, child in enumerate(node.children):
            low, high = edges[i], edges[i + 1]
            if child is not None and low < region.high and high > region.low:
                gaps[-1].append(_Part(child, level - 1, low, high))
            if i < len(node.keys) and region.low < high < region.high:
                keys.append(high)
                values.append(node.values[i])
                gaps.append([])
    return keys, values, gaps
