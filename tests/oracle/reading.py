"""The oracle: the plainest reading of a stream. A dict of current records; everything else is derived from it.

Shares no code with what it judges. Knows VERIFY=off: nothing is proven, shapes and hashes are checked.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, NamedTuple

import libipld

from tests.oracle.blocks import Bad, blessed, car, read, record_cid
from tests.oracle.rows import Given, Row, row_of
from tests.oracle.syntax import date, is_did, is_nsid, is_rkey, is_tid, tid_of

MIB = 1 << 20


class Broken(Bad):
    """Proof of a broken producer: the repository is desynchronized."""


class Repo(NamedTuple):
    rev: str | None = None
    data: bytes | None = None
    reason: str | None = None
    since_seq: int | None = None


class Status(NamedTuple):
    active: bool
    status: str | None
    at: datetime
    seq: int

    @property
    def hidden(self) -> bool:
        return not self.active and self.status not in ("desynchronized", "throttled")


class Loss(NamedTuple):
    """A line of quarantine."""

    scope: str
    reason: str
    seq: int
    did: str | None
    rev: str | None
    path: str | None
    cid: bytes | None
    sha256: bytes
    size: int


class Net(NamedTuple):
    """What one commit leaves of one path; no cid: deleted."""

    path: str
    cid: bytes | None
    block: bytes | None


@dataclass
class Oracle:
    """``read`` any number of frames, then look. Records are by (did, collection, rkey)."""

    records: dict[tuple[str, str, str], tuple[Given, Row]] = field(default_factory=dict)
    repos: dict[str, Repo] = field(default_factory=dict)
    statuses: dict[str, Status] = field(default_factory=dict)
    refused: dict[tuple[str, str], Loss] = field(default_factory=dict)
    losses: list[Loss] = field(default_factory=list)
    watermark: int = 0
    event_time: datetime | None = None

    def read(self, frames: Iterable[bytes]) -> Oracle:
        for frame in frames:
            self.take(frame)
        return self

    def hidden(self, did: str) -> bool:
        return did in self.statuses and self.statuses[did].hidden

    def take(self, frame: bytes) -> None:
        """One message. What is at or below the watermark was read before."""
        header, body = libipld.decode_dag_cbor_multi(frame)
        if header["op"] != 1 or body["seq"] <= self.watermark:
            return
        self.watermark = body["seq"]
        kind = header["t"]
        if kind not in FIELDS:
            return
        if not has_fields(body, FIELDS[kind]):
            self.lose(frame, body["seq"], f"{kind[1:]}_fields_invalid", None)
            return
        now = datetime.now(UTC)
        self.event_time = at = min(date(body["time"]) or now, now)
        did = body.get("repo") or body["did"]
        try:
            getattr(self, kind[1:])(did, body, at)
        except Bad as bad:
            if isinstance(bad, Broken):
                self.desynchronize(did, bad.code, body["seq"])
            self.lose(frame, body["seq"], bad.code, did)

    def lose(self, frame: bytes, seq: int, reason: str, did: str | None) -> None:
        named = did if is_did(did) else None
        scope = "commit" if named else "frame"
        self.losses.append(
            Loss(scope, reason, seq, named, None, None, None, sha256(frame).digest(), len(frame))
        )

    def desynchronize(self, did: str, reason: str, seq: int) -> None:
        known = self.repos.get(did, Repo())
        self.repos[did] = known._replace(reason=reason, since_seq=seq)

    def account(self, did: str, body: dict[str, Any], at: datetime) -> None:
        self.identity(did, body, at)
        status = body.get("status")
        if status is not None:
            status = status.replace("\0", "\x1a").encode()[:64].decode(errors="ignore")
        self.statuses[did] = Status(body["active"], status, at, body["seq"])

    def identity(self, did: str, _body: dict[str, Any], _at: datetime) -> None:
        if not is_did(did):
            raise Bad("did_invalid")
        self.repos.setdefault(did, Repo())

    def sync(self, did: str, body: dict[str, Any], _at: datetime) -> None:
        check_envelope(did, body["rev"])
        signed = commit_object(*car(body["blocks"]), did)
        known = self.repos.setdefault(did, Repo())
        if known.rev is None or (signed["rev"], signed["data"]) == known[:2] or signed["rev"] < known.rev:
            return
        if signed["data"] == known.data:
            self.repos[did] = known._replace(rev=signed["rev"])
        else:
            fork = signed["rev"] == known.rev
            self.desynchronize(did, "sync_fork" if fork else "sync_event", body["seq"])

    def commit(self, did: str, body: dict[str, Any], at: datetime) -> None:
        known = self.repos.get(did, Repo())
        if known.rev is not None and body["rev"] <= known.rev:
            return
        if known.reason is not None:
            return
        data, ops = open_commit(did, body)
        for op in ops:
            self.apply(did, body, op, at)
        self.repos[did] = Repo(body["rev"], data)

    def apply(self, did: str, body: dict[str, Any], op: Net, at: datetime) -> None:
        """The key holds what the op says, or nothing, or something that no row can be."""
        collection, _, rkey = op.path.partition("/")
        key = (did, collection, rkey)
        self.records.pop(key, None)
        self.refused.pop((did, op.path), None)
        if op.cid is None:
            return
        try:
            if not (is_nsid(collection) and is_rkey(rkey)):
                raise Bad("op_path_invalid")
            if op.block is None:
                raise Bad("record_block_missing")
            if len(op.block) > MIB:
                raise Bad("record_too_big")
            given = Given(did, collection, rkey, op.cid, op.block, read(op.block), at)
            self.records[key] = given, row_of(given)
        except Bad as bad:
            body_ = op.block or b""
            digest = sha256(body_).digest()
            self.refused[did, op.path] = Loss(
                "op", bad.code, body["seq"], did, body["rev"], op.path, op.cid, digest, len(body_)
            )


TEXT, NUMBER, BYTES, FLAG = str, int, bytes, bool
MAYBE_TEXT, MAYBE_BYTES = (str, type(None)), (bytes, type(None))
FIELDS: dict[str, dict[str, Any]] = {
    "#commit": {
        "repo": TEXT,
        "rev": TEXT,
        "since": MAYBE_TEXT,
        "commit": BYTES,
        "blocks": BYTES,
        "ops": list,
        "time": TEXT,
    },
    "#sync": {"did": TEXT, "rev": TEXT, "blocks": BYTES, "time": TEXT},
    "#identity": {"did": TEXT, "time": TEXT},
    "#account": {"did": TEXT, "time": TEXT, "active": FLAG},
}


def has_fields(body: dict[str, Any], fields: dict[str, Any]) -> bool:
    return all(name in body and isinstance(body[name], kind) for name, kind in fields.items())


def check_envelope(did: str, rev: str) -> None:
    if not is_did(did):
        raise Bad("did_invalid")
    if did.split(":")[1] not in ("plc", "web"):
        raise Bad("did_method_unsupported")
    if not is_tid(rev):
        raise Bad("rev_invalid")
    if rev > tid_of(datetime.now(UTC) + timedelta(seconds=300)):
        raise Bad("rev_future")


def open_commit(did: str, body: dict[str, Any]) -> tuple[bytes, list[Net]]:
    """The tree's root and the net operations. Raises Bad, and Broken for proof of a broken producer."""
    check_envelope(did, body["rev"])
    if len(body["blocks"]) > 2_000_000:
        raise Bad("blocks_too_big")
    if len(body["ops"]) > 200:
        raise Bad("ops_too_many")
    if not body["blocks"]:
        raise Bad("blocks_missing")
    root, blocks = car(body["blocks"])
    if root != body["commit"]:
        raise Bad("car_root_mismatch")
    signed = commit_object(root, blocks, did)
    if signed["rev"] != body["rev"]:
        raise Bad("commit_rev_mismatch")
    return signed["data"], [
        net(path, steps, blocks) for path, steps in by_path(body["ops"]) if lasting(steps)
    ]


def commit_object(root: bytes, blocks: dict[bytes, bytes], did: str) -> dict[str, Any]:
    if root not in blocks:
        raise Bad("commit_block_missing")
    if record_cid(blocks[root]) != root:
        raise Bad("block_hash_mismatch")
    signed: dict[str, Any] = read(blocks[root])
    if signed.get("version") != 3:
        raise Bad("commit_version")
    if not all(
        isinstance(signed.get(name), kind) for name, kind in (("did", str), ("rev", str), ("sig", bytes))
    ):
        raise Bad("commit_object_invalid")
    if not blessed(signed.get("data")):
        raise Bad("cid_not_blessed")
    if signed["did"] != did:
        raise Bad("commit_did_mismatch")
    return signed


def by_path(ops: list[dict[str, Any]]) -> Iterable[tuple[str, list[dict[str, Any]]]]:
    steps: dict[str, list[dict[str, Any]]] = {}
    for op in ops:
        if op["action"] not in ("create", "update", "delete"):
            raise Broken("op_action_unknown")
        if (op["cid"] is None) != (op["action"] == "delete"):
            raise Broken("op_shape_invalid")
        steps.setdefault(op["path"], []).append(op)
    for taken in steps.values():
        there = taken[0]["action"] != "create"
        for op in taken:
            if there == (op["action"] == "create"):
                raise Broken("op_fold_invalid")
            there = op["action"] != "delete"
    return steps.items()


def lasting(steps: list[dict[str, Any]]) -> bool:
    """Created and deleted within one commit is nothing."""
    return steps[0]["action"] != "create" or steps[-1]["action"] != "delete"


def net(path: str, steps: list[dict[str, Any]], blocks: dict[bytes, bytes]) -> Net:
    cid = steps[-1]["cid"]
    if cid is None:
        return Net(path, None, None)
    if not blessed(cid):
        raise Bad("cid_not_blessed")
    block = blocks.get(cid)
    if block is not None and record_cid(block) != cid:
        raise Broken("block_hash_mismatch")
    return Net(path, cid, block)
