"""The data model: CIDs, DAG-CBOR blocks and their JSON form (spec/protocol §1 and §5.5, records §1.3 and §1.4)."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from binascii import Error as Base64Error
from binascii import b2a_base64
from hashlib import sha256
from typing import NamedTuple, TypeGuard

import libipld

from firehose_indexer.errors import Reason, RecordError
from firehose_indexer.repo.cbor import MAX_DEPTH, ByteString, Value, encode, looks_like_cid, scan

_DAG_CBOR = b"\x01\x71\x12\x20"
_RAW = b"\x01\x55\x12\x20"


def cid_of(block: bytes) -> bytes:
    """CID of a DAG-CBOR block: 36 bytes."""
    return _DAG_CBOR + sha256(block).digest()


def is_blessed(cid: object) -> TypeGuard[bytes]:
    """Whether this is a CID of a commit, node or record: CIDv1, dag-cbor, SHA-256 (spec/protocol §5.5)."""
    return type(cid) is bytes and len(cid) == 36 and cid.startswith(_DAG_CBOR)


def cid_text(cid: bytes) -> str:
    """Base32 with prefix ``b``; a version 0 CID in its own form."""
    text: str = libipld.encode_cid(cid)
    return text


def cid_from_text(text: str) -> bytes | None:
    """36 bytes of a CIDv1, SHA-256, of a dag-cbor or raw block in base32; None for anything else."""
    if len(text) != 59 or not text.startswith(("bafyrei", "bafkrei")):
        return None
    try:
        _, cid = libipld.decode_multibase(text)
    except ValueError:
        return None
    # The last character carries two bits too many: only one of four spellings is the CID's own.
    usual = len(cid) == 36 and cid[:4] in {_DAG_CBOR, _RAW} and libipld.encode_cid(cid) == text
    return cid if usual else None


# First bytes of arrays and maps: fewer than the depth limit of them, and no nesting can pass it.
_NOT_CONTAINER = bytes({*range(256)} - {*range(0x80, 0x9C)} - {*range(0xA0, 0xBC)})


def decode(block: bytes) -> Value:
    """Read a block: None, bool, int, str, list, dict; a link is its CID as ``bytes``.

    A byte string is ``bytes`` too, or ``ByteString`` if it could be mistaken for a link.
    Raises RecordError: bad_float, bad_utf8, record_too_deep, record_cbor_invalid.
    """
    try:
        value: Value = libipld.decode_dag_cbor(block)
        # The library reads more than one spelling of some values, and writes one.
        if libipld.encode_dag_cbor(value) != block:
            return scan(block)
    except (ValueError, RecursionError):
        return scan(block)
    deep = len(block) > MAX_DEPTH and len(block.translate(None, _NOT_CONTAINER)) > MAX_DEPTH
    if deep or b"\xfb" in block:
        _check(value)
    return value


def _check(value: Value) -> None:
    """Refuse floats and too deep nesting in what was read."""
    level: list[Value] = [value]
    for depth in range(MAX_DEPTH + 1):
        below: list[Value] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
            elif isinstance(item, float):
                raise RecordError(Reason.bad_float)
            else:
                continue
            if depth == MAX_DEPTH:
                raise RecordError(Reason.record_too_deep)
        level = below


class JsonForm(NamedTuple):
    """AT Protocol JSON. ``lossy``: the block cannot be made again from it."""

    text: str
    lossy: bool


class _OddLinkError(Exception):
    """A link of unusual form needs a closer look."""


def _tagged(value: bytes) -> dict[str, str]:
    if len(value) == 36 and value[:4] in {_DAG_CBOR, _RAW} and type(value) is bytes:
        return {"$link": libipld.encode_cid(value)}
    if type(value) is bytes and looks_like_cid(value):
        raise _OddLinkError
    return {"$bytes": b2a_base64(value, newline=False).rstrip(b"=").decode()}


_OPTIONS = {"ensure_ascii": False, "separators": (",", ":"), "check_circular": False}
_encode_json = json.JSONEncoder(**_OPTIONS, default=_tagged).encode  # type: ignore[arg-type]


def to_json(record: Value, block: bytes) -> JsonForm:
    """JSON text of a value that ``decode`` gave, or of a part of it; ``block`` is what it was decoded from.

    U+0000, which Postgres cannot hold, becomes U+001A. Lossy then, and where a map has a literal key ``$link`` or
    ``$bytes``, and for a link that its text does not give back.
    """
    lossy = False
    try:
        text = _encode_json(record)
    except _OddLinkError:
        text, lossy = _encode_odd(record)
    if "\\u0000" in text:
        # An even run of backslashes before it is text about NUL, not NUL.
        replaced = re.sub(r"\\(?:u0000|.)", _without_nul, text)
        lossy, text = lossy or replaced != text, replaced
    if (b"$link" in block or b"$bytes" in block) and _has_literal(record):
        lossy = True
    return JsonForm(text, lossy)


def _without_nul(found: re.Match[str]) -> str:
    return "\\u001a" if found[0] == "\\u0000" else found[0]


def _encode_odd(record: Value) -> tuple[str, bool]:
    lossy = False

    def tagged(value: bytes) -> dict[str, str]:
        nonlocal lossy
        try:
            return _tagged(value)
        except _OddLinkError:
            text = cid_text(value)
            lossy = lossy or _link(text) != value
            return {"$link": text}

    return json.JSONEncoder(**_OPTIONS, default=tagged).encode(record), lossy  # type: ignore[arg-type]


def _has_literal(record: Value) -> bool:
    """A map in it has a key of its own that JSON uses for links and byte strings."""
    left: list[Value] = [record]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            if "$link" in value or "$bytes" in value:
                return True
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)
    return False


def from_json(value: object, *, strict: bool = False) -> bytes:
    """The DAG-CBOR block of parsed AT Protocol JSON, a map.

    ``strict`` also checks what the data model says of ``$type`` and of blobs. Raises RecordError: record_not_map,
    bad_float (1.0 is the integer 1), bad_field, type_mismatch, record_too_deep, bad_utf8.
    """
    if not isinstance(value, dict):
        raise RecordError(Reason.record_not_map)
    return encode(_untagged(value, strict, 0))


def _untagged(value: object, strict: bool, depth: int) -> Value:
    if depth > MAX_DEPTH:
        raise RecordError(Reason.record_too_deep)
    if isinstance(value, dict):
        if "$link" in value:
            return _link_of(value)
        if "$bytes" in value:
            return _bytes_of(value)
        if strict:
            _check_typed(value)
        return {key: _untagged(item, strict, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_untagged(item, strict, depth + 1) for item in value]
    if isinstance(value, float):
        if not value.is_integer():
            raise RecordError(Reason.bad_float)
        return int(value)
    if value is None or isinstance(value, bool | int | str):
        return value
    raise RecordError(Reason.bad_field, type(value).__name__)


def _check_typed(value: dict[str, object]) -> None:
    kind = value.get("$type", "unknown")
    if not isinstance(kind, str) or not kind:
        raise RecordError(Reason.type_mismatch, field="$type")
    if kind == "blob":
        ref = value.get("ref")
        size = value.get("size")
        if not isinstance(ref, dict) or "$link" not in ref or not isinstance(value.get("mimeType"), str):
            raise RecordError(Reason.bad_field, field="blob")
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise RecordError(Reason.bad_field, field="blob")


def _link_of(value: dict[str, object]) -> bytes:
    text = value["$link"]
    cid = _link(text) if isinstance(text, str) and len(value) == 1 else None
    if cid is None:
        raise RecordError(Reason.bad_field, field="$link")
    return cid


def _link(text: str) -> bytes | None:
    """Bytes of any CID in text form, None if it is none."""
    usual = cid_from_text(text)
    if usual is not None:
        return usual
    try:
        # Version 0 has no multibase prefix: it is bare base58btc.
        _, cid = libipld.decode_multibase("z" + text if text.startswith("Qm") else text)
        return cid if looks_like_cid(cid) else None
    except ValueError:
        return None


def _bytes_of(value: dict[str, object]) -> bytes:
    text = value["$bytes"]
    if not isinstance(text, str) or len(value) != 1:
        raise RecordError(Reason.bad_field, field="$bytes")
    bare = text.rstrip("=")
    try:
        found = b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except (Base64Error, ValueError) as error:
        raise RecordError(Reason.bad_field, field="$bytes") from error
    return ByteString(found) if looks_like_cid(found) else found
