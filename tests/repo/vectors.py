"""The data these tests share: interop vectors, and the recording of a real host."""

from __future__ import annotations

import json
import struct
from functools import cache
from pathlib import Path
from typing import Any

import libipld
import zstandard

from firehose_indexer.repo.car import read_car
from firehose_indexer.repo.data import cid_from_text, decode
from firehose_indexer.repo.inversion import NetOp

DATA = Path(__file__).parent.parent / "data"


def lines(name: str) -> list[str]:
    text = (DATA / "interop" / name).read_bytes().decode()
    return [line for line in text.split("\n") if line and not line.startswith("#")]


def load(name: str) -> Any:
    return json.loads((DATA / "interop" / name).read_text())


def cid(text: str) -> bytes:
    found = cid_from_text(text)
    assert found is not None, text
    return found


@cache
def commits() -> list[dict[str, Any]]:
    """The body of every ``#commit`` frame of the recording, in order."""
    with (DATA / "devnet" / "devnet-small.frames.zst").open("rb") as file:
        raw = zstandard.ZstdDecompressor().stream_reader(file).read()
    found = []
    at = 0
    while at < len(raw):
        (length,) = struct.unpack_from(">I", raw, at)
        header, body = libipld.decode_dag_cbor_multi(raw[at + 4 : at + 4 + length])
        if header["t"] == "#commit":
            found.append(body)
        at += 4 + length
    return found


@cache
def records() -> list[bytes]:
    """The block of every record that the recording's commits carry."""
    found = []
    for commit in commits():
        car = read_car(commit["blocks"])
        found += [car.block(op["cid"]) for op in commit["ops"] if op["cid"] in car.blocks]
    return found


def net_ops(commit: dict[str, Any]) -> list[NetOp]:
    """The ops of a recorded commit, folded by path."""
    net: dict[bytes, NetOp] = {}
    for op in commit["ops"]:
        path = op["path"].encode()
        before = net[path].prev if path in net else op.get("prev")
        net[path] = NetOp(path, op["cid"], before)
    return [op for op in net.values() if op.cid != op.prev]


def data_of(commit: dict[str, Any]) -> bytes:
    """The tree root that a recorded commit signs."""
    car = read_car(commit["blocks"])
    signed = decode(car.block(car.root))
    assert isinstance(signed, dict)
    root = signed["data"]
    assert isinstance(root, bytes)
    return root
