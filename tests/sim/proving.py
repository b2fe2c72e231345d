"""A plain verifier for what the simulator emits: slow, separate from the pipeline, and strict."""

from __future__ import annotations

from hashlib import sha256
from typing import Any, NamedTuple

import libipld

from firehose_indexer.repo.car import read_car
from firehose_indexer.repo.inversion import NetOp, invert
from firehose_indexer.repo.keys import PublicKey
from firehose_indexer.repo.mst import EMPTY_ROOT
from firehose_indexer.sim import wire


class Link(NamedTuple):
    """What the next commit of a repository has to build on."""

    rev: str
    data: bytes


def open_car(blocks: bytes) -> tuple[dict[bytes, bytes], bytes, dict[str, Any]]:
    """The blocks, every one hashed; the root; the commit object."""
    car = read_car(blocks)
    for cid, block in car.blocks.items():
        assert cid == b"\x01\x71\x12\x20" + sha256(block).digest()
    return car.blocks, car.root, libipld.decode_dag_cbor(car.blocks[car.root])


def prove_signature(commit: dict[str, Any], key: PublicKey) -> None:
    unsigned = {name: value for name, value in commit.items() if name != "sig"}
    assert len(commit["sig"]) == 64
    key.verify(libipld.encode_dag_cbor(unsigned), commit["sig"])


def net_ops(ops: list[dict[str, Any]]) -> list[NetOp]:
    first, last = {}, {}
    for op in ops:
        path = op["path"].encode()
        first.setdefault(path, op.get("prev"))
        last[path] = op["cid"]
    return [NetOp(path, last[path], first[path]) for path in last if last[path] != first[path]]


def prove(frame: bytes, key: PublicKey, before: Link | None) -> Link:
    """Prove a #commit or #sync by its signature, its blocks, the inversion and the chain."""
    kind, body = wire.decode(frame)
    blocks, root, commit = open_car(body["blocks"])
    assert list(commit) == ["did", "rev", "sig", "data", "prev", "version"]
    assert (commit["did"], commit["rev"]) == (body.get("repo") or body["did"], body["rev"])
    assert (commit["version"], commit["prev"]) == (3, None)
    prove_signature(commit, key)
    after = Link(commit["rev"], commit["data"])
    if kind == "#sync":
        assert list(blocks) == [root]
        assert before in (None, after)
        return after
    assert root == body["commit"]
    if before is not None:
        assert (body["since"], body["prevData"]) == before
        assert after.rev > before.rev
    prev_data = body.get("prevData")
    assert (prev_data is None) == (body["since"] is None)
    ops = net_ops(body["ops"])
    assert invert(commit["data"], blocks, ops, prev_data) == (prev_data or EMPTY_ROOT)
    for op in ops:
        assert op.cid is None or op.cid in blocks
    return after
