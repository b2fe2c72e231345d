"""A persistent Merkle search tree in memory: what a repository host keeps, to make real commits.

Trees are values: ``put`` and ``delete`` return a new tree that shares every untouched node with the old one.
CIDs and blocks are computed once per node, when first asked for.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import cached_property
from typing import TYPE_CHECKING

from firehose_indexer.repo.data import cid_of
from firehose_indexer.repo.mst import EMPTY_NODE, EMPTY_ROOT, encode_node, key_height

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class _Node:
    """Keys of one level and the subtrees in the gaps around them; never changed after it is made."""

    def __init__(
        self,
        level: int,
        keys: tuple[bytes, ...],
        values: tuple[bytes, ...],
        children: tuple[_Node | None, ...],
    ) -> None:
        self.level = level
        self.keys = keys
        self.values = values
        self.children = children

    @cached_property
    def block(self) -> bytes:
        links = [None if child is None else child.cid for child in self.children]
        return encode_node(self.keys, self.values, links)

    @cached_property
    def cid(self) -> bytes:
        return cid_of(self.block)

    def with_child(self, i: int, child: _Node | None) -> _Node:
        children = (*self.children[:i], child, *self.children[i + 1 :])
        return _Node(self.level, self.keys, self.values, children)


class Tree:
    """The keys and record CIDs of one repository (spec/protocol §5.2)."""

    __slots__ = ("top",)

    def __init__(self, top: _Node | None) -> None:
        self.top = top

    @classmethod
    def empty(cls) -> Tree:
        return cls(None)

    @property
    def root(self) -> bytes:
        """CID of the root node: the ``data`` of a commit."""
        return EMPTY_ROOT if self.top is None else self.top.cid

    def get(self, key: bytes) -> bytes | None:
        """Record CID at ``key``, None if there is none."""
        node = self.top
        while node is not None:
            i = bisect_left(node.keys, key)
            if i < len(node.keys) and node.keys[i] == key:
                return node.values[i]
            node = node.children[i]
        return None

    def put(self, key: bytes, cid: bytes) -> Tree:
        """The tree with ``cid`` at ``key``, new or replaced."""
        height = key_height(key)
        if self.top is None:
            return Tree(_Node(height, (key,), (cid,), (None, None)))
        return Tree(_put(_raise_to(self.top, max(height, self.top.level)), key, cid, height))

    def delete(self, key: bytes) -> Tree:
        """The tree without ``key``. Raises KeyError if it is not there."""
        if self.top is None:
            raise KeyError(key)
        top = _delete(self.top, key)
        while top is not None and not top.keys:
            top = top.children[0]
        return Tree(top)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """(key, record CID) in key order."""
        return _items(self.top)

    def blocks(self) -> dict[bytes, bytes]:
        """Every node block by CID; the empty tree has one."""
        return new_blocks(None, self)


def _raise_to(node: _Node, level: int) -> _Node:
    """Bridge the levels between a node and the one it shall hang below."""
    while node.level < level:
        node = _Node(node.level + 1, (), (), (node,))
    return node


def _put(node: _Node, key: bytes, cid: bytes, height: int) -> _Node:
    keys, values, children = node.keys, node.values, node.children
    i = bisect_left(keys, key)
    child = children[i]
    if node.level > height:
        if child is None:
            leaf = _Node(height, (key,), (cid,), (None, None))
            return node.with_child(i, _raise_to(leaf, node.level - 1))
        return node.with_child(i, _put(child, key, cid, height))
    if i < len(keys) and keys[i] == key:
        return _Node(node.level, keys, (*values[:i], cid, *values[i + 1 :]), children)
    return _Node(
        node.level,
        (*keys[:i], key, *keys[i:]),
        (*values[:i], cid, *values[i:]),
        (*children[:i], *_split(child, key), *children[i + 1 :]),
    )


def _split(node: _Node | None, key: bytes) -> tuple[_Node | None, _Node | None]:
    """The parts of a subtree left and right of a key that it does not hold."""
    if node is None:
        return None, None
    i = bisect_left(node.keys, key)
    left, right = _split(node.children[i], key)
    return (
        _unless_hollow(_Node(node.level, node.keys[:i], node.values[:i], (*node.children[:i], left))),
        _unless_hollow(_Node(node.level, node.keys[i:], node.values[i:], (right, *node.children[i + 1 :]))),
    )


def _delete(node: _Node, key: bytes) -> _Node | None:
    keys, values, children = node.keys, node.values, node.children
    i = bisect_left(keys, key)
    if i < len(keys) and keys[i] == key:
        joined = _join(children[i], children[i + 1])
        children = (*children[:i], joined, *children[i + 2 :])
        return _unless_hollow(
            _Node(node.level, (*keys[:i], *keys[i + 1 :]), (*values[:i], *values[i + 1 :]), children)
        )
    child = children[i]
    if child is None:
        raise KeyError(key)
    return _unless_hollow(node.with_child(i, _delete(child, key)))


def _join(left: _Node | None, right: _Node | None) -> _Node | None:
    """One subtree of two neighbours on the same level."""
    if left is None or right is None:
        return left or right
    middle = _join(left.children[-1], right.children[0])
    children = (*left.children[:-1], middle, *right.children[1:])
    return _Node(left.level, left.keys + right.keys, left.values + right.values, children)


def _unless_hollow(node: _Node) -> _Node | None:
    return node if node.keys or node.children[0] is not None else None


def _items(node: _Node | None) -> Iterator[tuple[bytes, bytes]]:
    if node is None:
        return
    for i, key in enumerate(node.keys):
        yield from _items(node.children[i])
        yield key, node.values[i]
    yield from _items(node.children[-1])


def new_blocks(old: Tree | None, new: Tree) -> dict[bytes, bytes]:
    """Node blocks, by CID, of ``new`` that ``old`` does not have; all of them when ``old`` is None.

    Costs as much as the trees differ: a node that both have ends the descent.
    """
    if new.top is None:
        return {} if old is not None and old.top is None else {EMPTY_ROOT: EMPTY_NODE}
    blocks: dict[bytes, bytes] = {}
    mine = {new.top.cid: new.top}
    theirs = {old.top.cid: old.top} if old is not None and old.top is not None else {}
    while mine:
        # Equal nodes have equal keys, so equal levels: compare the two trees level by level from the top.
        level = max(node.level for node in (*mine.values(), *theirs.values()))
        my_level = {cid: node for cid, node in mine.items() if node.level == level and cid not in theirs}
        their_level = {cid: node for cid, node in theirs.items() if node.level == level and cid not in mine}
        blocks.update((cid, node.block) for cid, node in my_level.items())
        mine = _descend(mine, my_level, level)
        theirs = _descend(theirs, their_level, level)
    return blocks


def _descend(nodes: dict[bytes, _Node], opened: dict[bytes, _Node], level: int) -> dict[bytes, _Node]:
    """Leave a level: the nodes below it, and the children of those opened on it."""
    rest = {cid: node for cid, node in nodes.items() if node.level < level}
    for node in opened.values():
        rest.update((child.cid, child) for child in node.children if child is not None)
    return rest


def proof_blocks(old: Tree, new: Tree, keys: Iterable[bytes]) -> dict[bytes, bytes]:
    """Node blocks, by CID, of ``new`` from which a verifier can get back to the root of ``old``.

    ``keys`` are the paths of the commit's ops. A value that changed needs the way to its key. A key that came
    or went needs also the ways to its neighbours on both sides: between them the tree was split or joined.
    """
    if new.top is None:
        return {EMPTY_ROOT: EMPTY_NODE}
    blocks = {new.top.cid: new.top.block}
    for key in keys:
        around = (old.get(key) is None) != (new.get(key) is None)
        _add_way(new.top, key, blocks, around=around)
    return blocks


def _add_way(top: _Node, key: bytes, blocks: dict[bytes, bytes], *, around: bool) -> None:
    node: _Node | None = top
    while node is not None:
        blocks[node.cid] = node.block
        i = bisect_left(node.keys, key)
        if i < len(node.keys) and node.keys[i] == key:
            if around:
                _add_edge(node.children[i], -1, blocks)
                _add_edge(node.children[i + 1], 0, blocks)
            return
        node = node.children[i]


def _add_edge(node: _Node | None, side: int, blocks: dict[bytes, bytes]) -> None:
    while node is not None:
        blocks[node.cid] = node.block
        node = node.children[side]
