"""One WebSocket message becomes one typed message (spec/protocol §1, §2). Pure.

Nearly every frame is *ordinary*: canonical bytes, known fields, right types. Those take the fast way.
Anything else is read once more by the strict decoder, which decides what exactly is wrong with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from libipld import decode_dag_cbor_multi, encode_dag_cbor

from firehose_indexer.errors import FrameError, Reason
from firehose_indexer.stream.cbor import CborError, decode_item
from firehose_indexer.stream.events import (
    Account,
    Commit,
    ErrorFrame,
    Identity,
    Ignored,
    Info,
    Malformed,
    RepoOp,
    Sync,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from firehose_indexer.stream.events import Event, Message

MAX_FRAME: Final = 5_242_880
MAX_SEQ: Final = 2**53 - 1
CID_LENGTH: Final = 36
_LEXICON: Final = "com.atproto.sync.subscribeRepos"
# A named tuple's own constructor costs twice as much as the tuple it makes.
_new_tuple: Final = tuple.__new__
_OP_FIELDS: Final = frozenset(("action", "path", "cid", "prev"))


class _FieldError(Exception):
    """A field is missing or has the wrong type; the text names it."""


def parse(message: bytes | str) -> Message:
    """Read one message as received.

    Raises FrameError for what the table of spec/protocol §1 calls poison. A malformed error frame is
    told apart by its ``field``, "error".
    """
    if isinstance(message, str):
        raise FrameError(Reason.frame_text)
    if not message:
        raise FrameError(Reason.frame_empty)
    if len(message) > MAX_FRAME:
        raise FrameError(Reason.frame_too_big, f"{len(message)} bytes")
    return _ordinary(message) or _exact(message)


def _ordinary(frame: bytes) -> Event | None:
    """The event, if nothing about the frame needs a second look."""
    for header, fields, build in _HEADERS:
        if frame.startswith(header):
            try:
                _, body = decode_dag_cbor_multi(frame)
                # Known fields only: then their types leave no room for floats or deep nesting.
                known = type(body) is dict and fields.issuperset(body)
                if not known or not _is_shortest(body, len(frame) - len(header)):
                    return None
                if build is _commit and not _is_plain_commit(body):
                    return None
                seq = _legal_seq(body)
                return None if seq is None else build(body, seq, frame)
            except (ValueError, TypeError, KeyError, OverflowError, RecursionError, _FieldError):
                return None
    return None


def _is_shortest(body: dict[str, Any], size: int) -> bool:
    """Whether ``body`` was written in ``size`` bytes because every head in it has its shortest form.

    Order and uniqueness of keys are the decoder's business, so the canonical form differs in length alone.
    A byte string that looks like a CID is encoded as a link and says no, which proves nothing.
    """
    blocks = body.get("blocks")
    if type(blocks) is not bytes:
        return len(encode_dag_cbor(body)) == size
    # Most of a commit is its blocks, and there is no need to copy them for that.
    body["blocks"] = b""
    length = len(blocks)
    head = 1 if length < 24 else 2 if length < 256 else 3 if length < 65_536 else 5
    shortest = len(encode_dag_cbor(body)) - 1 + head + length == size
    body["blocks"] = blocks
    return shortest


def _is_plain_commit(body: dict[str, Any]) -> bool:
    """Whether the two fields with room for it hold nothing that nobody reads."""
    blobs = body.get("blobs")
    if blobs and not all(type(blob) is bytes for blob in blobs):
        return False
    return all(map(_OP_FIELDS.issuperset, body["ops"]))


def _exact(frame: bytes) -> Message:
    """Read header and payload by the letter, each failure with its own reason."""
    try:
        header, start = decode_item(frame)
    except CborError as error:
        raise FrameError(Reason.frame_header_invalid, str(error)) from None
    op = header.get("op") if type(header) is dict else None
    if type(op) is not int:
        raise FrameError(Reason.frame_header_invalid, "no int op")
    kind = header.get("t")
    if op == 1 and type(kind) is not str:
        raise FrameError(Reason.frame_header_invalid, "no text t")
    field = "error" if op == -1 else ""
    try:
        body, end = decode_item(frame, start)
    except CborError as error:
        raise FrameError(Reason.frame_payload_invalid, str(error), field=field) from None
    if end != len(frame):
        raise FrameError(Reason.frame_trailing, f"{len(frame) - end} bytes", field=field)
    if op == 1:
        return _message(kind.removeprefix(_LEXICON), body, frame)
    if op == -1:
        return _error(body)
    return Ignored(_legal_seq(body), Reason.frame_op_unknown)


def _message(kind: str, body: object, frame: bytes) -> Message:
    if type(body) is not dict:
        raise FrameError(Reason.frame_payload_invalid, "not a map")
    if kind == "#info":
        return _info(body)
    builder = _BUILDERS.get(kind)
    if builder is None:
        return Ignored(_legal_seq(body), Reason.frame_type_unknown)
    seq = _seq(body)
    try:
        return builder(body, seq, frame)
    except _FieldError as error:
        return Malformed(seq, Reason(f"{kind[1:]}_fields_invalid"), str(error), frame)


def _error(body: object) -> ErrorFrame:
    try:
        if type(body) is not dict:
            raise _FieldError("not a map")
        return ErrorFrame(_text(body, "error"), _text_or_none(body, "message") or "")
    except _FieldError as error:
        raise FrameError(Reason.frame_payload_invalid, str(error), field="error") from None


def _info(body: dict[str, Any]) -> Info:
    try:
        return Info(_text(body, "name"), _text_or_none(body, "message") or "")
    except _FieldError as error:
        raise FrameError(Reason.frame_payload_invalid, f"#info: {error}") from None


def _commit(body: dict[str, Any], seq: int, frame: bytes) -> Commit:
    # The hot one: one look at every field, and a second only to name the field that is wrong.
    get = body.get
    did, rev, since, commit, blocks = get("repo"), get("rev"), get("since"), get("commit"), get("blocks")
    ops, prev_data, time, too_big = get("ops"), get("prevData"), get("time"), get("tooBig")
    if (
        type(did) is not str
        or type(rev) is not str
        or type(time) is not str
        or type(commit) is not bytes
        or len(commit) != CID_LENGTH
        or type(blocks) is not bytes
        or type(ops) is not list
        or (type(since) is not str and (since is not None or "since" not in body))
        or (prev_data is not None and (type(prev_data) is not bytes or len(prev_data) != CID_LENGTH))
        or too_big is not False
        or get("rebase") is not False
    ):
        return _odd_commit(body, seq, frame)
    fields = (seq, did, rev, since, commit, blocks, list(map(_op, ops)), prev_data, time, False, frame)
    return _new_tuple(Commit, fields)


def _odd_commit(body: dict[str, Any], seq: int, frame: bytes) -> Commit:
    """Field by field: a commit with something optional, deprecated or wrong."""
    too_big = _flag(body, "tooBig")
    _flag(body, "rebase")
    # One that calls itself too big may come without blocks and ops (spec/protocol §5.1, check 6).
    ops = [] if too_big and body.get("ops") is None else body.get("ops")
    if type(ops) is not list:
        raise _FieldError("ops")
    return Commit(
        seq,
        _text(body, "repo"),
        _text(body, "rev"),
        _text_or_none(body, "since", required=True),
        _cid(body, "commit"),
        b"" if too_big and body.get("blocks") is None else _bytes(body, "blocks"),
        [_op(op) for op in ops],
        _cid_or_none(body, "prevData"),
        _text(body, "time"),
        too_big,
        frame,
    )


def _op(op: object) -> RepoOp:
    if type(op) is not dict:
        raise _FieldError("ops")
    get = op.get
    action, path, cid, prev = get("action"), get("path"), get("cid"), get("prev")
    if type(action) is not str:
        raise _FieldError("ops.action")
    if type(path) is not str:
        raise _FieldError("ops.path")
    if (type(cid) is not bytes or len(cid) != CID_LENGTH) and (cid is not None or "cid" not in op):
        raise _FieldError("ops.cid")
    if prev is not None and (type(prev) is not bytes or len(prev) != CID_LENGTH):
        raise _FieldError("ops.prev")
    return _new_tuple(RepoOp, (action, path, cid, prev))


def _sync(body: dict[str, Any], seq: int, frame: bytes) -> Sync:
    did, rev, time = _text(body, "did"), _text(body, "rev"), _text(body, "time")
    return Sync(seq, did, rev, _bytes(body, "blocks"), time, frame)


def _identity(body: dict[str, Any], seq: int, frame: bytes) -> Identity:
    return Identity(seq, _text(body, "did"), _text(body, "time"), _text_or_none(body, "handle"), frame)


def _account(body: dict[str, Any], seq: int, frame: bytes) -> Account:
    active = body.get("active")
    if type(active) is not bool:
        raise _FieldError("active")
    did, time = _text(body, "did"), _text(body, "time")
    return Account(seq, did, time, active, _text_or_none(body, "status"), frame)


def _legal_seq(body: object) -> int | None:
    seq = body.get("seq") if type(body) is dict else None
    # bool is an int to isinstance, not to the protocol.
    return seq if type(seq) is int and 1 <= seq <= MAX_SEQ else None


def _seq(body: dict[str, Any]) -> int:
    seq = _legal_seq(body)
    if seq is None:
        raise FrameError(Reason.seq_invalid)
    return seq


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if type(value) is not str:
        raise _FieldError(name)
    return value


def _text_or_none(body: dict[str, Any], name: str, *, required: bool = False) -> str | None:
    value = body.get(name)
    if value is None and (not required or name in body):
        return None
    return _text(body, name)


def _bytes(body: dict[str, Any], name: str) -> bytes:
    value = body.get(name)
    if type(value) is not bytes:
        raise _FieldError(name)
    return value


def _cid(body: dict[str, Any], name: str) -> bytes:
    # The fast decoder does not tell a link from a byte string; a false one fails against the blocks.
    value = body.get(name)
    if type(value) is not bytes or len(value) != CID_LENGTH:
        raise _FieldError(name)
    return value


def _cid_or_none(body: dict[str, Any], name: str, *, required: bool = False) -> bytes | None:
    value = body.get(name)
    if value is None and (not required or name in body):
        return None
    return _cid(body, name)


def _flag(body: dict[str, Any], name: str) -> bool:
    value = body.get(name)
    if value is None:
        return False
    if type(value) is not bool:
        raise _FieldError(name)
    return value


_BUILDERS: Final[dict[str, Callable[[dict[str, Any], int, bytes], Event]]] = {
    "#commit": _commit,
    "#identity": _identity,
    "#account": _account,
    "#sync": _sync,
}
_FIELDS: Final = {
    "#commit": frozenset(
        (
            "seq",
            "repo",
            "commit",
            "rev",
            "since",
            "blocks",
            "ops",
            "prevData",
            "time",
            "tooBig",
            "rebase",
            "blobs",
        )
    ),
    "#sync": frozenset(("seq", "did", "rev", "blocks", "time")),
    "#identity": frozenset(("seq", "did", "time", "handle")),
    "#account": frozenset(("seq", "did", "time", "active", "status")),
}
_HEADERS: Final = tuple(
    (encode_dag_cbor({"op": 1, "t": kind}), _FIELDS[kind], build) for kind, build in _BUILDERS.items()
)
