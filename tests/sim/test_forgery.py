from __future__ import annotations

from hashlib import sha256

import libipld
import pytest

from firehose_indexer.errors import CarError, CommitError
from firehose_indexer.repo.car import read_car
from firehose_indexer.repo.inversion import invert
from firehose_indexer.repo.keys import PublicKey
from firehose_indexer.sim import wire
from firehose_indexer.sim.forgery import FORGERIES
from firehose_indexer.sim.world import World
from tests.sim.proving import Link, net_ops, prove, prove_signature


def verdict(frame: bytes, key: PublicKey, before: Link) -> str:
    """The code of the first check of spec/protocol §5.1 that the frame fails, or ``proven``."""
    _, body = wire.decode(frame)
    if "rev" not in body:
        return "commit_fields_invalid"
    if not body["blocks"]:
        return "blocks_missing"
    try:
        car = read_car(body["blocks"])
    except CarError as error:
        return error.code
    if car.root != body["commit"]:
        return "car_root_mismatch"
    if car.root not in car.blocks:
        return "commit_block_missing"
    if sha256(car.blocks[car.root]).digest() != car.root[4:]:
        return "block_hash_mismatch"
    commit = libipld.decode_dag_cbor(car.blocks[car.root])
    for code, good in (
        ("commit_version", commit["version"] == 3),
        ("commit_did_mismatch", commit["did"] == body["repo"]),
        ("commit_rev_mismatch", commit["rev"] == body["rev"]),
    ):
        if not good:
            return code
    try:
        prove_signature(commit, key)
        for op in body["ops"]:
            if op["cid"] in car.blocks:
                car.block(op["cid"])
        root = invert(commit["data"], car.blocks, net_ops(body["ops"]), body.get("prevData"))
    except (CarError, CommitError) as error:
        return error.code
    if "prevData" not in body:
        return "prev_data_missing"
    if root != body["prevData"]:
        return "inversion_mismatch"
    if body["since"] != before.rev:
        return "chain_since_mismatch"
    if any(op["cid"] is not None and op["cid"] not in car.blocks for op in body["ops"]):
        return "record_block_missing"
    return "proven"


EXPECTED = {
    "no rev": {"commit_fields_invalid"},
    "cut CAR": {"car_truncated"},
    "no blocks": {"blocks_missing"},
    "other root": {"car_root_mismatch"},
    "missing commit": {"commit_block_missing"},
    "damaged commit": {"block_hash_mismatch"},
    "other version": {"commit_version"},
    "other did": {"commit_did_mismatch"},
    "other rev": {"commit_rev_mismatch"},
    "bad signature": {"sig_invalid"},
    "high s": {"sig_high_s"},
    "damaged record": {"block_hash_mismatch"},
    "missing record": {"record_block_missing"},
    "damaged node": {"block_hash_mismatch"},
    "missing node": {"op_unprovable", "inversion_incomplete"},
    "lying op": {"op_tree_mismatch"},
    "other prevData": {"inversion_mismatch"},
    "no prevData": {"prev_data_missing", "inversion_incomplete", "op_tree_mismatch"},
    "other since": {"chain_since_mismatch"},
}


def test_every_forgery_has_a_verdict() -> None:
    assert set(EXPECTED) == set(FORGERIES)


@pytest.mark.parametrize("case", FORGERIES)
def test_a_forgery_breaks_the_check_it_is_named_for(case: str) -> None:
    world = World(5, 20, history=30)
    chain: dict[str, Link] = {}
    verdicts = set()
    for event in world.take(150):
        kind, _ = wire.decode(event.frame)
        if kind not in ("#commit", "#sync"):
            continue
        document = world.document(event.did)
        assert document is not None
        key = PublicKey.from_multikey(document["verificationMethod"][0]["publicKeyMultibase"])
        before = chain.get(event.did)
        chain[event.did] = prove(event.frame, key, before)
        forged = FORGERIES[case](event.frame)
        if forged is not None and before is not None:
            assert verdict(event.frame, key, before) == "proven"
            verdicts.add(verdict(forged, key, before))
    assert verdicts
    assert verdicts <= EXPECTED[case]


def test_what_is_not_a_commit_cannot_be_forged() -> None:
    for event in World(5, 20).take(4):
        assert {forge(event.frame) for forge in FORGERIES.values()} == {None}
