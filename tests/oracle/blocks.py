"""DAG-CBOR, CARs and their JSON form, read by the letter: slow, recursive, and nobody's but the oracle's."""

from __future__ import annotations

from base64 import b32encode, b64encode
from hashlib import sha256
from typing import Any

DEPTH = 256


class Bad(Exception):
    """Input that breaks a rule; ``code`` is the reason as stored."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Link(bytes):
    """A CID from tag 42; other bytes are plain ``bytes``."""


def cid_text(cid: bytes) -> str:
    return "b" + b32encode(cid).decode().rstrip("=").lower()


def record_cid(block: bytes) -> bytes:
    return b"\x01\x71\x12\x20" + sha256(block).digest()


def blessed(cid: object) -> bool:
    return isinstance(cid, bytes) and len(cid) == 36 and cid[:4] == b"\x01\x71\x12\x20"


def read(block: bytes) -> Any:
    """One strict item that is the whole block. Raises Bad."""
    value, end = item(block, 0, 0)
    if end != len(block):
        raise Bad("record_cbor_invalid")
    return value


def item(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    major, number, at = head(data, at)
    if major == 0:
        return number, at
    if major == 1:
        return -1 - number, at
    if major in (2, 3):
        if at + number > len(data):
            raise Bad("record_cbor_invalid")
        raw = data[at : at + number]
        return (raw if major == 2 else text(raw)), at + number
    if major == 6:
        inner, end = item(data, at, depth)
        if number != 42 or type(inner) is not bytes or not inner.startswith(b"\0") or len(inner) < 5:
            raise Bad("record_cbor_invalid")
        return Link(inner[1:]), end
    if major == 7:
        return {20: False, 21: True, 22: None}[number], at
    if depth == DEPTH:
        raise Bad("record_too_deep")
    return array(data, at, number, depth) if major == 4 else mapping(data, at, number, depth)


def array(data: bytes, at: int, number: int, depth: int) -> tuple[list[Any], int]:
    values = []
    for _ in range(number):
        value, at = item(data, at, depth + 1)
        values.append(value)
    return values, at


def mapping(data: bytes, at: int, number: int, depth: int) -> tuple[dict[str, Any], int]:
    values: dict[str, Any] = {}
    last = (-1, b"")
    for _ in range(number):
        major, length, at = head(data, at)
        raw = data[at : at + length]
        if major != 3 or (length, raw) <= last or len(raw) != length:
            raise Bad("record_cbor_invalid")
        last = (length, raw)
        values[text(raw)], at = item(data, at + length, depth + 1)
    return values, at


def head(data: bytes, at: int) -> tuple[int, int, int]:
    """Major type, argument, and where the rest begins."""
    if at >= len(data):
        raise Bad("record_cbor_invalid")
    major, info = data[at] >> 5, data[at] & 31
    if major == 7:
        if info in (25, 26, 27):
            raise Bad("bad_float")
        if info not in (20, 21, 22):
            raise Bad("record_cbor_invalid")
        return major, info, at + 1
    if info < 24:
        return major, info, at + 1
    if info > 27:
        raise Bad("record_cbor_invalid")
    width = 2 ** (info - 24)
    raw = data[at + 1 : at + 1 + width]
    number = int.from_bytes(raw)
    least = {1: 24, 2: 2**8, 4: 2**16, 8: 2**32}[width]
    if len(raw) != width or number < least:
        raise Bad("record_cbor_invalid")
    return major, number, at + 1 + width


def text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise Bad("bad_utf8") from None


def car(data: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    """Root and blocks. Raises Bad."""
    length, at = varint(data, 0)
    try:
        header = read(data[at : at + length])
        root = header["roots"][0]
    except (Bad, KeyError, IndexError, TypeError):
        raise Bad("car_header_invalid") from None
    if header.get("version") != 1 or not isinstance(root, Link):
        raise Bad("car_header_invalid")
    at += length
    blocks: dict[bytes, bytes] = {}
    while at < len(data):
        length, start = varint(data, at)
        at = start + length
        if at > len(data):
            raise Bad("car_truncated")
        blocks[data[start : start + 36]] = data[start + 36 : at]
    return bytes(root), blocks


def varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        if at >= len(data):
            raise Bad("car_truncated")
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return number, at


def json_form(value: Any) -> Any:
    """AT Protocol JSON as Python values, with U+0000 replaced (records §1.3, §1.4)."""
    if isinstance(value, Link):
        return {"$link": cid_text(value)}
    if isinstance(value, bytes):
        return {"$bytes": b64encode(value).decode().rstrip("=")}
    if isinstance(value, str):
        return value.replace("\0", "\x1a")
    if isinstance(value, list):
        return [json_form(one) for one in value]
    if isinstance(value, dict):
        return {json_form(key): json_form(one) for key, one in value.items()}
    return value


def is_lossy(value: Any) -> bool:
    """Whether JSON cannot give the block back: a NUL somewhere, or a literal key of JSON's own."""
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, list):
        return any(map(is_lossy, value))
    if isinstance(value, dict):
        literal = "$link" in value or "$bytes" in value
        return literal or any(map(is_lossy, value)) or any(map(is_lossy, value.values()))
    return False
