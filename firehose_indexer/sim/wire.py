"""The bytes of subscribeRepos frames (spec/protocol §1, §2), made and remade.

A frame is two DAG-CBOR objects back to back. Field sets are those of the reference PDS.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import libipld

ENDPOINT = "/xrpc/com.atproto.sync.subscribeRepos"


class Emitted(NamedTuple):
    """One event as a relay sends it. ``did`` is whose event it is: the unit within which order holds."""

    seq: int
    did: str
    frame: bytes


def encode(kind: str, body: Mapping[str, Any]) -> bytes:
    """The frame of a message: ``kind`` is ``#commit``, ``#sync`` …"""
    return libipld.encode_dag_cbor({"t": kind, "op": 1}) + libipld.encode_dag_cbor(dict(body))


def decode(frame: bytes) -> tuple[str, dict[str, Any]]:
    """The inverse of ``encode`` for frames that are sound. Raises ValueError or KeyError for others."""
    header, body = libipld.decode_dag_cbor_multi(frame)
    return header["t"], body


def restamp(frame: bytes, seq: int) -> bytes:
    """The same event under another ``seq``."""
    kind, body = decode(frame)
    return encode(kind, {**body, "seq": seq})


def commit(
    *,
    seq: int,
    did: str,
    time: str,
    rev: str,
    since: str | None,
    cid: bytes,
    blocks: bytes,
    ops: Sequence[Mapping[str, Any]],
    prev_data: bytes | None,
) -> bytes:
    body: dict[str, Any] = {
        "ops": list(ops),
        "rev": rev,
        "seq": seq,
        "repo": did,
        "time": time,
        "blobs": [],
        "since": since,
        "blocks": blocks,
        "commit": cid,
        "rebase": False,
        "tooBig": False,
    }
    if prev_data is not None:
        body["prevData"] = prev_data
    return encode("#commit", body)


def sync(*, seq: int, did: str, time: str, rev: str, blocks: bytes) -> bytes:
    return encode("#sync", {"did": did, "rev": rev, "seq": seq, "time": time, "blocks": blocks})


def identity(*, seq: int, did: str, time: str, handle: str) -> bytes:
    return encode("#identity", {"did": did, "seq": seq, "time": time, "handle": handle})


def account(*, seq: int, did: str, time: str, status: str | None) -> bytes:
    """``status`` None is an active account."""
    body: dict[str, Any] = {"did": did, "seq": seq, "time": time, "active": status is None}
    if status is not None:
        body["status"] = status
    return encode("#account", body)


def info(name: str, message: str) -> bytes:
    return encode("#info", {"name": name, "message": message})


def error(name: str, message: str) -> bytes:
    """An error frame: header ``{op: -1}``, no ``t``."""
    return libipld.encode_dag_cbor({"op": -1}) + libipld.encode_dag_cbor({"error": name, "message": message})
