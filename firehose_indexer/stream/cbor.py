"""One DAG-CBOR item at a time, by the letter of spec/protocol §1's "Frame" column.

The fast decoder refuses maps out of canonical order, which a frame may have, accepts what a frame may
not have (long integer forms, floats), and cannot say where an item ended. Frames that are not ordinary
are therefore read again here. Slow (about 1 µs an item) and bounded: depth, items and lengths.
"""

from __future__ import annotations

from typing import Any

MAX_DEPTH = 16
MAX_ITEMS = 250_000
"""Far above what 200 ops need; keeps a hostile 5 MB frame below a quarter of a second."""

_UINT, _NINT, _BYTES, _TEXT, _ARRAY, _MAP, _TAG, _SIMPLE = range(8)
_SIMPLE_VALUES = {20: False, 21: True, 22: None}
_CID_TAG = 42


class CborError(ValueError):
    """The bytes are not one strict DAG-CBOR item."""


class _Reader:
    def __init__(self, data: bytes, pos: int) -> None:
        self.data = data
        self.pos = pos
        self.items = 0

    def argument(self) -> tuple[int, int]:
        """Major type and argument of the next item; a float's or long form's is refused."""
        if self.pos >= len(self.data):
            raise CborError("truncated")
        major, info = divmod(self.data[self.pos], 32)
        self.pos += 1
        if info < 24 or major == _SIMPLE:
            return major, info
        if info > 27:
            raise CborError("indefinite or reserved length")
        width = 1 << (info - 24)
        value = int.from_bytes(self.take(width), "big")
        if value < (24 if width == 1 else 1 << (4 * width)):
            raise CborError("integer not in its shortest form")
        return major, value

    def take(self, length: int) -> bytes:
        end = self.pos + length
        if end > len(self.data):
            raise CborError("truncated")
        chunk = self.data[self.pos : end]
        self.pos = end
        return chunk

    def item(self, depth: int) -> Any:
        self.items += 1
        if self.items > MAX_ITEMS:
            raise CborError("too many items")
        major, value = self.argument()
        if major == _UINT:
            return value
        if major == _NINT:
            return -1 - value
        if major == _BYTES:
            return self.take(value)
        if major == _TEXT:
            return self.text(value)
        if major == _TAG:
            return self.link(value)
        if major == _SIMPLE:
            if value not in _SIMPLE_VALUES:
                raise CborError("float, undefined or unknown simple value")
            return _SIMPLE_VALUES[value]
        if depth == MAX_DEPTH:
            raise CborError("nested too deep")
        if major == _ARRAY:
            return self.array(value, depth + 1)
        return self.map(value, depth + 1)

    def text(self, length: int) -> str:
        try:
            return self.take(length).decode()
        except UnicodeDecodeError:
            raise CborError("text is not UTF-8") from None

    def link(self, tag: int) -> bytes:
        if tag != _CID_TAG:
            raise CborError("tag other than 42")
        major, length = self.argument()
        content = self.take(length) if major == _BYTES else b""
        if not content.startswith(b"\0"):
            raise CborError("tag 42 without a binary CID")
        return content[1:]

    def array(self, length: int, depth: int) -> list[Any]:
        if length > len(self.data) - self.pos:
            raise CborError("truncated")
        return [self.item(depth) for _ in range(length)]

    def map(self, length: int, depth: int) -> dict[str, Any]:
        if length > len(self.data) - self.pos:
            raise CborError("truncated")
        found: dict[str, Any] = {}
        for _ in range(length):
            major, size = self.argument()
            if major != _TEXT:
                raise CborError("map key is not text")
            key = self.text(size)
            if key in found:
                raise CborError("map key twice")
            found[key] = self.item(depth)
        return found


def decode_item(data: bytes, pos: int = 0) -> tuple[Any, int]:
    """The item that starts at ``pos`` and the offset after it; links are their binary CIDs.

    Raises CborError. Map keys may come in any order, as frames allow (spec/protocol §1).
    """
    reader = _Reader(data, pos)
    return reader.item(0), reader.pos


def cbor_end(data: bytes, pos: int = 0) -> int:
    """The offset after the item that starts at ``pos``. Raises CborError."""
    return decode_item(data, pos)[1]
