"""DAG-CBOR by the letter: the strict reader and the exact writer behind ``data``.

The fast library cannot tell a link from a byte string that looks like one, and accepts floats and long integers.
Where that matters, this module decides. It is slow (about 1 µs an item), never recursive in reading, and linear
in the size of the input.
"""

from __future__ import annotations

import struct
from typing import TypeAlias

import libipld

from firehose_indexer.errors import Reason, RecordError

MAX_DEPTH = 256

Value: TypeAlias = "bool | int | str | bytes | list[Value] | dict[str, Value] | None"


class ByteString(bytes):
    """A byte string that looks like a CID and is none. Links, and all other byte strings, are plain ``bytes``."""

    __slots__ = ()


def looks_like_cid(value: bytes) -> bool:
    """Whether the library would take these bytes for a link."""
    return value[:1] in {b"\x01", b"\x12"} and bool(libipld.encode_dag_cbor(bytes(value))[0] == 0xD8)


class _Container:
    """An array or map being read: where its values go, how many are missing."""

    __slots__ = ("key", "keys", "left", "order", "values")

    def __init__(self, values: list[Value] | dict[str, Value], left: int) -> None:
        self.values = values
        self.left = left
        self.key = ""
        self.order = (-1, b"")

    def add(self, value: Value) -> None:
        if isinstance(self.values, dict):
            self.values[self.key] = value
        else:
            self.values.append(value)
        self.left -= 1


def scan(block: bytes) -> Value:
    """Read one item that is the whole block.

    Raises RecordError: bad_float, bad_utf8, record_too_deep, record_cbor_invalid.
    """
    reader = _Reader(block)
    open_: list[_Container] = []
    while True:
        if open_ and isinstance(open_[-1].values, dict):
            reader.key(open_[-1])
        value = reader.item()
        if isinstance(value, _Container):
            if len(open_) == MAX_DEPTH:
                raise RecordError(Reason.record_too_deep)
            if value.left:
                open_.append(value)
                continue
            value = value.values
        while open_:
            open_[-1].add(value)
            if open_[-1].left:
                break
            value = open_.pop().values
        if not open_:
            break
    if reader.at != len(block):
        raise RecordError(Reason.record_cbor_invalid, "bytes after the item")
    return value


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def head(self) -> tuple[int, int]:
        """Major type and argument, in its shortest form."""
        try:
            byte = self.data[self.at]
        except IndexError:
            raise _invalid("truncated") from None
        self.at += 1
        major, info = byte >> 5, byte & 31
        if major == 7:
            if info in {25, 26, 27}:
                raise RecordError(Reason.bad_float)
            if info not in {20, 21, 22}:
                raise _invalid("simple value")
            return major, info
        if info < 24:
            return major, info
        if info > 27:
            raise _invalid("indefinite length")
        width = 1 << info - 24
        number = int.from_bytes(self.take(width))
        if number < (24 if width == 1 else 1 << 4 * width):
            raise _invalid("integer not in its shortest form")
        return major, number

    def take(self, length: int) -> bytes:
        end = self.at + length
        if end > len(self.data):
            raise _invalid("truncated")
        found = self.data[self.at : end]
        self.at = end
        return found

    def item(self) -> Value | _Container:
        major, number = self.head()
        if major == 0:
            return number
        if major == 1:
            return -1 - number
        if major == 2:
            found = self.take(number)
            return ByteString(found) if looks_like_cid(found) else found
        if major == 3:
            return self.text(number)
        if major == 6:
            return self.link(number)
        if major == 7:
            return None if number == 22 else number == 21
        # Every value takes a byte at least: what cannot fit is refused before anything is made for it.
        if number * (major - 3) > len(self.data) - self.at:
            raise _invalid("truncated")
        return _Container([] if major == 4 else {}, number)

    def text(self, length: int) -> str:
        try:
            return self.take(length).decode()
        except UnicodeDecodeError as error:
            raise RecordError(Reason.bad_utf8) from error

    def link(self, tag: int) -> bytes:
        if tag != 42:
            raise _invalid("tag")
        major, length = self.head()
        found = self.take(length) if major == 2 else b""
        if found[:1] != b"\0" or not looks_like_cid(found[1:]):
            raise _invalid("link")
        return found[1:]

    def key(self, container: _Container) -> None:
        major, length = self.head()
        if major != 3:
            raise _invalid("map key")
        start = self.at
        container.key = self.text(length)
        order = (length, self.data[start : self.at])
        if order <= container.order:
            raise _invalid("map keys not in order")
        container.order = order


def _invalid(detail: str) -> RecordError:
    return RecordError(Reason.record_cbor_invalid, detail)


def encode(value: Value) -> bytes:
    """The one DAG-CBOR form of a value as ``scan`` gives it.

    Raises RecordError: bad_float, record_too_deep, and record_cbor_invalid for what the format cannot hold.
    """
    out: list[bytes] = []
    _write(value, out, 0)
    return b"".join(out)


def _write(value: object, out: list[bytes], depth: int) -> None:
    if value is None:
        out.append(b"\xf6")
    elif isinstance(value, bool):
        out.append(b"\xf5" if value else b"\xf4")
    elif isinstance(value, int):
        out.append(_head(0, value) if value >= 0 else _head(1, -1 - value))
    elif isinstance(value, str):
        _write_text(value, out)
    elif isinstance(value, bytes):
        if type(value) is bytes and looks_like_cid(value):
            out += (b"\xd8\x2a", _head(2, len(value) + 1), b"\0", value)
        else:
            out += (_head(2, len(value)), value)
    elif isinstance(value, float):
        raise RecordError(Reason.bad_float)
    elif depth == MAX_DEPTH:
        raise RecordError(Reason.record_too_deep)
    elif isinstance(value, list):
        out.append(_head(4, len(value)))
        for item in value:
            _write(item, out, depth + 1)
    elif isinstance(value, dict):
        out.append(_head(5, len(value)))
        for key in sorted(value, key=_key_order):
            _write_text(key, out)
            _write(value[key], out, depth + 1)
    else:
        raise _invalid(type(value).__name__)


def _key_order(key: str) -> tuple[int, bytes]:
    data = key.encode(errors="surrogatepass")
    return len(data), data


def _write_text(text: str, out: list[bytes]) -> None:
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise RecordError(Reason.bad_utf8) from error
    out += (_head(3, len(data)), data)


def _head(major: int, number: int) -> bytes:
    if number < 24:
        return bytes((major << 5 | number,))
    for info, form in ((24, ">BB"), (25, ">BH"), (26, ">BI"), (27, ">BQ")):
        if number < 1 << (8 << info - 24):
            return struct.pack(form, major << 5 | info, number)
    raise _invalid("integer of more than 64 bits")
