"""A ``#commit`` event, opened: the checks that need only the event itself (protocol §5.1).

Checks 2–6, 9–16 and 20 (record blocks) stand here, with the fold of ops by path (22, 23) and the
per-op checks 31–32. Check 1 was made when the frame was parsed, 7 and 8 belong to whoever knows the
repo's state. Between opening a commit and using its ops is the place of the proof: signature, tree
and chain.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

from libipld import decode_dag_cbor, encode_dag_cbor

from firehose_indexer.errors import CarError, CommitError, ProducerError, Reason, Rejected
from firehose_indexer.repo.car import Car, read_car
from firehose_indexer.repo.data import decode, is_blessed
from firehose_indexer.repo.syntax import is_did, is_tid, split_path
from firehose_indexer.stream.events import Commit, RepoOp, Sync

BLOCKS_LIMIT = 2_000_000
OPS_LIMIT = 200
ACTIONS = ("create", "update", "delete")
METHODS = ("did:plc:", "did:web:")
FIELDS = frozenset(("did", "rev", "data", "sig", "prev", "version"))


class CommitObject(NamedTuple):
    """The signed object of a repo. ``data`` is the root of its tree, 36 bytes."""

    did: str
    rev: str
    data: bytes
    sig: bytes
    fields: dict[str, Any]


class Op(NamedTuple):
    """The net change of one path. ``cid`` and ``block`` are None for a delete.

    ``created``: the producer says the path was free before this commit. ``fault``: why this op alone
    cannot be applied; its siblings go on.
    """

    did: str
    seq: int
    rev: str
    collection: str
    rkey: str
    created: bool
    cid: bytes | None
    block: bytes | None
    fault: Rejected | None

    @property
    def path(self) -> str:
        return f"{self.collection}/{self.rkey}" if self.rkey else self.collection


class OpenCommit(NamedTuple):
    """A commit whose bytes are what its CIDs say. Not proven yet."""

    object: CommitObject
    ops: list[Op]
    duplicate_paths: int


def open_commit(event: Commit, newest_rev: str, *, known: bool = False) -> OpenCommit:
    """Raises CommitError or CarError with the code of the first check that fails.

    ``newest_rev`` is the TID of the latest acceptable moment (now + 300 s), computed once per batch.
    """
    check_envelope(event.did, event.rev, newest_rev, known=known)
    if len(event.blocks) > BLOCKS_LIMIT:
        raise CommitError(Reason.blocks_too_big, str(len(event.blocks)))
    if len(event.ops) > OPS_LIMIT:
        raise CommitError(Reason.ops_too_many, str(len(event.ops)))
    if not event.blocks:
        raise CommitError(Reason.blocks_missing, "tooBig" if event.too_big else "")
    car = read_car(event.blocks)
    if car.root != event.commit:
        raise CommitError(Reason.car_root_mismatch)
    signed = read_object(car, event.did, event.rev)
    net, duplicates = fold(event.ops)
    return OpenCommit(signed, [_op(event, car, op, created) for op, created in net], duplicates)


def open_sync(event: Sync, newest_rev: str) -> CommitObject:
    """The commit object that a ``#sync`` carries (protocol §6.1). Believe the block, not the envelope."""
    check_envelope(event.did, event.rev, newest_rev)
    if len(event.blocks) > BLOCKS_LIMIT:
        raise CommitError(Reason.blocks_too_big, str(len(event.blocks)))
    return read_object(read_car(event.blocks), event.did, None)


def check_envelope(did: str, rev: str, newest_rev: str, *, known: bool = False) -> None:
    """Checks 2, 4 and 9. The DID of a ``known`` repo has been through them before."""
    if not known and not is_did(did):
        raise CommitError(Reason.did_invalid, did[:100])
    if not known and not did.startswith(METHODS):
        raise CommitError(Reason.did_method_unsupported, did[:100])
    if not is_tid(rev):
        raise CommitError(Reason.rev_invalid, rev[:100])
    if rev > newest_rev:
        raise CommitError(Reason.rev_future, rev)


def read_object(car: Car, did: str, rev: str | None) -> CommitObject:
    """Checks 12–16. ``rev`` None: the envelope's rev is not compared."""
    if not is_blessed(car.root):
        raise CommitError(Reason.cid_not_blessed, "commit")
    try:
        found = _read_block(car.block(car.root))
    except KeyError:
        raise CommitError(Reason.commit_block_missing) from None
    get = found.get
    inner_rev, data, sig = get("rev"), get("data"), get("sig")
    if (
        get("did") != did
        or inner_rev != rev
        or type(data) is not bytes
        or not isinstance(sig, bytes)
        or len(sig) != 64
        or type(get("version")) is not int
        or found["version"] != 3
        or (get("prev") is not None and not isinstance(found["prev"], bytes))
    ):
        _explain(found, did, rev)
        inner_rev = found["rev"]
    if not is_blessed(data):
        raise CommitError(Reason.cid_not_blessed, "data")
    return tuple.__new__(CommitObject, (did, inner_rev, data, sig, found))


def _explain(found: dict[str, Any], did: str, rev: str | None) -> None:
    """Raises CommitError with the first of checks 15 and 16 that fails, if one does."""
    version = found.get("version")
    if type(version) is not int or version != 3:
        raise CommitError(Reason.commit_version, str(version)[:20])
    inner_did, inner_rev, sig, prev = found.get("did"), found.get("rev"), found.get("sig"), found.get("prev")
    if (
        not isinstance(inner_did, str)
        or not isinstance(inner_rev, str)
        or not isinstance(found.get("data"), bytes)
        or not isinstance(sig, bytes)
        or len(sig) != 64
        or not (prev is None or isinstance(prev, bytes))
    ):
        raise CommitError(Reason.commit_object_invalid, "fields")
    if inner_did != did:
        raise CommitError(Reason.commit_did_mismatch, inner_did[:100])
    if rev is None:
        if not is_tid(inner_rev):
            raise CommitError(Reason.rev_invalid, inner_rev[:100])
    elif inner_rev != rev:
        raise CommitError(Reason.commit_rev_mismatch, inner_rev[:100])


def _read_block(block: bytes) -> dict[str, Any]:
    """The map in a commit block. Six known fields of fixed types leave no room for floats or depth, so the
    strict decoder is asked only when there is more, or when another spelling is possible.
    """
    try:
        found = decode_dag_cbor(block)
        if type(found) is not dict or not FIELDS.issuperset(found) or encode_dag_cbor(found) != block:
            found = decode(block)
    except (ValueError, RecursionError, Rejected) as fault:
        raise CommitError(Reason.commit_object_invalid, str(fault)[:100]) from fault
    if type(found) is not dict:
        raise CommitError(Reason.commit_object_invalid, "not a map")
    return found


def fold(ops: list[RepoOp]) -> tuple[list[tuple[RepoOp, bool]], int]:
    """Net op per path with whether the path was free before, and how many paths came twice (check 23).

    A path created and deleted within the commit is nothing: it needs no prev, no block, no tree.
    """
    if len(ops) == 1:
        return [(ops[0], _is_new(ops[0]))], 0
    if len({op.path for op in ops}) == len(ops):
        return [(op, _is_new(op)) for op in ops], 0
    steps: dict[str, list[RepoOp]] = {}
    for op in ops:
        steps.setdefault(op.path, []).append(op)
    net = []
    for path, taken in steps.items():
        for before, after in pairwise(taken):
            _check_shape(after)
            there = before.action != "delete"
            if there == (after.action == "create") or after.prev not in (None, before.cid, before.prev):
                raise ProducerError(Reason.op_fold_invalid, path[:200])
        first, last = taken[0], taken[-1]
        created = _is_new(first)
        if not created or last.action != "delete":
            net.append((last._replace(prev=first.prev), created))
    return net, len(ops) - len(steps)


def _is_new(first: RepoOp) -> bool:
    """Check 22 for the first op on a path, and whether that path was free before.

    Only a create that follows a delete may name what it replaces.
    """
    _check_shape(first)
    if first.action != "create":
        return False
    if first.prev is not None:
        raise ProducerError(Reason.op_shape_invalid, "create with prev")
    return True


def _check_shape(op: RepoOp) -> None:
    if op.action not in ACTIONS:
        raise ProducerError(Reason.op_action_unknown, op.action[:50])
    if (op.cid is None) != (op.action == "delete"):
        raise ProducerError(Reason.op_shape_invalid, op.action)


def _op(event: Commit, car: Car, op: RepoOp, created: bool) -> Op:
    """Checks 13, 20, 31 and 32 of one net op."""
    did, seq, rev = event.did, event.seq, event.rev
    fault: Rejected | None = None
    try:
        collection, rkey = split_path(op.path)
    except Rejected as found:
        collection, rkey, fault = op.path[:1024], "", found
    cid = op.cid
    if cid is None:
        return Op(did, seq, rev, collection, rkey, created, None, None, fault)
    if not is_blessed(cid):
        raise CommitError(Reason.cid_not_blessed, op.path[:200])
    block: bytes | None = None
    try:
        block = car.block(cid)
    except KeyError:
        fault = fault or CommitError(Reason.record_block_missing)
    except CarError as found:
        raise ProducerError(found.reason, op.path[:200]) from found
    return tuple.__new__(Op, (did, seq, rev, collection, rkey, created, cid, block, fault))
