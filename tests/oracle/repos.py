"""A small hand for writing streams: named accounts whose commits are well-formed and unsigned (VERIFY=off).

    net = Repos()
    net.does("alice", "+post/a1", post("hi"))
    net.does("bob", "+like/l1", like(net.uri("alice", "post/a1")))
    net.frames

``+`` creates, ``~`` updates, ``-`` deletes; several steps in one call are one commit. Short names stand for
collections (``post``, ``like`` …); anything with a dot is an NSID.
"""

from __future__ import annotations

from base64 import b32encode
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import libipld

from tests.oracle.blocks import cid_text, record_cid
from tests.oracle.rows import BLOCK, FOLLOW, LIKE, POST, PROFILE, REPOST
from tests.oracle.syntax import tid_of

SHORT = {"post": POST, "like": LIKE, "repost": REPOST, "follow": FOLLOW, "block": BLOCK, "profile": PROFILE}
BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
EMPTY = b"\x01\x71\x12\x20" + bytes(32)
CREATED = "2026-02-01T00:00:00.000Z"
Step = tuple[str, Any]


def did(name: str) -> str:
    return "did:plc:" + b32encode(sha256(name.encode()).digest()).decode().lower()[:24]


def stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")


class Repos:
    """Frames of every account in the order they happened, one second apart."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self._cids: dict[tuple[str, str], bytes] = {}

    @property
    def seq(self) -> int:
        return len(self.frames)

    @property
    def now(self) -> datetime:
        """The time of the newest event."""
        return BEGIN + timedelta(seconds=self.seq)

    def uri(self, name: str, short: str) -> str:
        return f"at://{did(name)}/{path(short)}"

    def cid(self, name: str, short: str) -> bytes:
        """The newest CID at a path."""
        return self._cids[name, path(short)]

    def does(self, name: str, *steps: Any) -> Repos:
        """One commit: ``does("bob", "+like/l1", value, "-like/l0")``. A value may be a block as bytes."""
        blocks: dict[bytes, bytes] = {}
        ops = [self._op(name, step, value, blocks) for step, value in pairs(steps)]
        moment = self._next()
        data = record_cid(libipld.encode_dag_cbor({"after": self.seq}))
        rev = tid_of(moment)
        signed = {"did": did(name), "rev": rev, "data": data, "prev": None, "version": 3, "sig": b"\xff" * 64}
        commit = libipld.encode_dag_cbor(signed)
        head = record_cid(commit)
        self._add(
            "#commit",
            repo=did(name),
            rev=rev,
            since=None,
            commit=head,
            blocks=car(head, {head: commit, **blocks}),
            ops=ops,
            prevData=EMPTY,
            blobs=[],
            tooBig=False,
            rebase=False,
        )
        return self

    def account(self, name: str, *, active: bool, status: str | None = None) -> Repos:
        self._next()
        told = {} if status is None else {"status": status}
        self._add("#account", did=did(name), active=active, **told)
        return self

    def again(self, count: int) -> Repos:
        """The newest event so many times more, under seqs of its own."""
        header, body = libipld.decode_dag_cbor_multi(self.frames[-1])
        for _ in range(count):
            self.frames.append(framed(header, body | {"seq": self.seq + 1}))
        return self

    def _op(self, name: str, step: str, value: Any, blocks: dict[bytes, bytes]) -> dict[str, Any]:
        action = {"+": "create", "~": "update", "-": "delete"}[step[0]]
        where = path(step[1:])
        op: dict[str, Any] = {"action": action, "path": where, "cid": None}
        if action != "create":
            op["prev"] = self._cids[name, where]
        if action != "delete":
            block = value if isinstance(value, bytes) else libipld.encode_dag_cbor(value)
            op["cid"] = self._cids[name, where] = record_cid(block)
            blocks[op["cid"]] = block
        return op

    def _next(self) -> datetime:
        return BEGIN + timedelta(seconds=self.seq + 1)

    def _add(self, kind: str, **body: Any) -> None:
        header = {"t": kind, "op": 1}
        self.frames.append(framed(header, body | {"seq": self.seq + 1, "time": stamp(self._next())}))


def framed(header: dict[str, Any], body: dict[str, Any]) -> bytes:
    return libipld.encode_dag_cbor(header) + libipld.encode_dag_cbor(body)


def path(short: str) -> str:
    name, _, rkey = short.partition("/")
    return f"{SHORT.get(name, name)}/{rkey}"


def pairs(steps: Sequence[Any]) -> list[Step]:
    """Each step with the value that follows it; deletes have none."""
    found: list[Step] = []
    left = list(steps)
    while left:
        step = left.pop(0)
        found.append((step, None if step.startswith("-") else left.pop(0)))
    return found


def car(root: bytes, blocks: dict[bytes, bytes]) -> bytes:
    header = libipld.encode_dag_cbor({"version": 1, "roots": [root]})
    parts = [header, *(cid + block for cid, block in blocks.items())]
    return b"".join(varint(len(part)) + part for part in parts)


def varint(number: int) -> bytes:
    low, high = number & 127, number >> 7
    return bytes([low | 128]) + varint(high) if high else bytes([low])


def strong(uri: str) -> dict[str, str]:
    return {"uri": uri, "cid": cid_text(EMPTY)}


def post(text: str = "hi", created: Any = CREATED, **fields: Any) -> dict[str, Any]:
    return {"$type": POST, "text": text, "createdAt": created, **fields}


def like(uri: str, via: str | None = None, **fields: Any) -> dict[str, Any]:
    return subject(LIKE, uri, via, fields)


def repost(uri: str, via: str | None = None, **fields: Any) -> dict[str, Any]:
    return subject(REPOST, uri, via, fields)


def subject(kind: str, uri: str, via: str | None, fields: dict[str, Any]) -> dict[str, Any]:
    through = {} if via is None else {"via": strong(via)}
    return {"$type": kind, "subject": strong(uri), "createdAt": CREATED, **through, **fields}


def follow(whom: str) -> dict[str, Any]:
    return {"$type": FOLLOW, "subject": whom, "createdAt": CREATED}


def quoting(uri: str) -> dict[str, Any]:
    return post("look", embed={"$type": "app.bsky.embed.record", "record": strong(uri)})
