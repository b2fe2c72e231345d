"""Commits made wrong on purpose: each breaks one rule of spec/protocol §5.1 and keeps those before it.

A forgery takes a frame and gives another, or None when it cannot be made of that frame (not a commit,
nothing in it to break).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import libipld

from firehose_indexer.repo.car import read_car, write_car
from firehose_indexer.repo.data import cid_of
from firehose_indexer.sim import wire

Body = dict[str, Any]
Blocks = dict[bytes, bytes]

K256_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
SOMEBODY = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"


def _commit(change: Callable[[Body], Body | None]) -> Callable[[bytes], bytes | None]:
    """A forgery that changes the payload of a #commit which has operations."""

    def forge(frame: bytes) -> bytes | None:
        kind, body = wire.decode(frame)
        changed = change(body) if kind == "#commit" and body["ops"] else None
        return None if changed is None else wire.encode(kind, changed)

    return forge


def _car(change: Callable[[Body, Blocks], Blocks | None]) -> Callable[[bytes], bytes | None]:
    """A forgery that changes the blocks of the CAR."""

    def forge(body: Body) -> Body | None:
        blocks = change(body, dict(read_car(body["blocks"]).blocks))
        return None if blocks is None else body | {"blocks": write_car(body["commit"], blocks)}

    return _commit(forge)


def _signed(change: Callable[[Body], Body]) -> Callable[[bytes], bytes | None]:
    """A forgery that changes the commit object and everything that names it, but does not sign it again."""

    def forge(body: Body) -> Body:
        blocks = dict(read_car(body["blocks"]).blocks)
        block = libipld.encode_dag_cbor(change(libipld.decode_dag_cbor(blocks.pop(body["commit"]))))
        cid = cid_of(block)
        return body | {"commit": cid, "blocks": write_car(cid, blocks | {cid: block})}

    return _commit(forge)


def _record(body: Body) -> bytes | None:
    """CID of a record that the commit brings."""
    return next((op["cid"] for op in body["ops"] if op["cid"] is not None), None)


def _root(body: Body, blocks: Blocks) -> bytes:
    data: bytes = libipld.decode_dag_cbor(blocks[body["commit"]])["data"]
    return data


def _damage(blocks: Blocks, cid: bytes | None) -> Blocks | None:
    """Another last byte in a block, under the same CID."""
    if cid is None or cid not in blocks:
        return None
    block = blocks[cid]
    return blocks | {cid: block[:-1] + bytes([block[-1] ^ 1])}


def _remove(blocks: Blocks, cid: bytes | None) -> Blocks | None:
    if cid is None or cid not in blocks:
        return None
    return {other: block for other, block in blocks.items() if other != cid}


def _high_s(signature: bytes) -> bytes:
    return signature[:32] + (K256_ORDER - int.from_bytes(signature[32:])).to_bytes(32)


def _without_prev(body: Body) -> Body:
    ops = [{key: value for key, value in op.items() if key != "prev"} for op in body["ops"]]
    return {key: value for key, value in body.items() if key != "prevData"} | {"ops": ops}


def _lie(body: Body) -> Body | None:
    """An operation that the tree does not bear out."""
    if _record(body) is None:
        return None
    ops = [op | {"cid": cid_of(b"\xa0")} if op["cid"] else op for op in body["ops"]]
    return body | {"ops": ops}


FORGERIES: dict[str, Callable[[bytes], bytes | None]] = {
    "no rev": _commit(lambda body: {key: value for key, value in body.items() if key != "rev"}),
    "cut CAR": _commit(lambda body: body | {"blocks": body["blocks"][:-5]}),
    "no blocks": _commit(lambda body: body | {"blocks": b""}),
    "other root": _commit(lambda body: body | {"commit": cid_of(b"\xa0")}),
    "missing commit": _car(lambda body, blocks: _remove(blocks, body["commit"])),
    "damaged commit": _car(lambda body, blocks: _damage(blocks, body["commit"])),
    "other version": _signed(lambda commit: commit | {"version": 2}),
    "other did": _signed(lambda commit: commit | {"did": SOMEBODY}),
    "other rev": _signed(lambda commit: commit | {"rev": "3aaaaaaaaaa22"}),
    "bad signature": _signed(
        lambda commit: commit | {"sig": bytes([commit["sig"][0] ^ 1]) + commit["sig"][1:]}
    ),
    "high s": _signed(lambda commit: commit | {"sig": _high_s(commit["sig"])}),
    "damaged record": _car(lambda body, blocks: _damage(blocks, _record(body))),
    "missing record": _car(lambda body, blocks: _remove(blocks, _record(body))),
    "damaged node": _car(lambda body, blocks: _damage(blocks, _root(body, blocks))),
    "missing node": _car(lambda body, blocks: _remove(blocks, _root(body, blocks))),
    "lying op": _commit(_lie),
    "other prevData": _commit(
        lambda body: body | {"prevData": cid_of(b"\xa0")} if "prevData" in body else None
    ),
    "no prevData": _commit(lambda body: _without_prev(body) if "prevData" in body else None),
    "other since": _commit(lambda body: body | {"since": "3aaaaaaaaaa22"}),
}
"""In the order in which a verifier meets them."""
