"""CAR archives, version 1: a root and blocks by CID (spec/protocol §5.5)."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

import libipld

from firehose_indexer.errors import CarError, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

# The header that everyone writes, around its root: {roots: [CID], version: 1}.
_BEFORE_ROOT = b"\x3a\xa2\x65roots\x81\xd8\x2a\x58\x25\x00"
_AFTER_ROOT = b"\x67version\x01"
_ROOT_END = len(_BEFORE_ROOT) + 36
_HEADER_END = _ROOT_END + len(_AFTER_ROOT)

_DAG_CBOR = b"\x01\x71\x12\x20"
_RAW = b"\x01\x55\x12\x20"
_BLESSED = (_DAG_CBOR, _RAW)


class Car(NamedTuple):
    """An archive as read: ``blocks`` are not hashed, and may be fewer or more than the root needs."""

    root: bytes
    blocks: dict[bytes, bytes]

    def block(self, cid: bytes) -> bytes:
        """A block proven to be what its CID says.

        Raises KeyError when it is missing, CarError block_hash_mismatch, and CarError cid_not_blessed for a CID
        that is not SHA-256.
        """
        block = self.blocks[cid]
        if cid[4:] != sha256(block).digest():
            raise CarError(Reason.block_hash_mismatch)
        if not cid.startswith(_BLESSED):
            raise CarError(Reason.cid_not_blessed)
        return block


def read_car(data: bytes, *, max_blocks: int = 10_000) -> Car:
    """Cut an archive into its blocks. Of two blocks with one CID the later stands.

    Raises CarError: car_header_invalid, car_truncated, car_block_invalid, car_too_many_blocks.
    Input that ends between two blocks is a smaller archive: completeness is for a walk of the tree to tell.
    """
    if data.startswith(_BEFORE_ROOT) and data.startswith(_AFTER_ROOT, _ROOT_END):
        root, at = data[len(_BEFORE_ROOT) : _ROOT_END], _HEADER_END
    else:
        root, at = _read_header(data)
    blocks: dict[bytes, bytes] = {}
    size = len(data)
    count = 0
    try:
        while at < size:
            length = data[at]
            if length < 128:
                at += 1
            elif (more := data[at + 1]) < 128:
                # Nearly every block is longer than 127 bytes and shorter than 16 KiB.
                length += (more << 7) - 128
                at += 2
            else:
                length, at = _varint(data, at)
            end = at + length
            if end > size:
                raise CarError(Reason.car_truncated, f"{end - size} bytes short")
            start = at + 36
            cid = data[at:start]
            if start > end or not cid.startswith(_DAG_CBOR):
                start = at + _cid_length(data[at:end])
                cid = data[at:start]
            blocks[cid] = data[start:end]
            at = end
            count += 1
    except IndexError:
        raise CarError(Reason.car_truncated, "in a length") from None
    if count > max_blocks:
        raise CarError(Reason.car_too_many_blocks, str(count))
    return Car(root, blocks)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned LEB128 of at most 10 bytes, and where it ends."""
    number = shift = 0
    for i in range(at, min(at + 10, len(data))):
        byte = data[i]
        number |= (byte & 0x7F) << shift
        if byte < 128:
            return number, i + 1
        shift += 7
    if len(data) - at < 10:
        raise CarError(Reason.car_truncated, "inside a length")
    raise CarError(Reason.car_block_invalid, "length of more than 10 bytes")


def _read_header(data: bytes) -> tuple[bytes, int]:
    """Root 0, and where the blocks begin, of a header in any other legal form."""
    try:
        length, start = _varint(data, 0)
        end = start + length
        header = libipld.decode_dag_cbor(data[start:end])
        version, root = header["version"], header["roots"][0]
        # The library reads links and byte strings alike, and writes what looks like a CID as a link.
        exact = end <= len(data) and libipld.encode_dag_cbor(header) == data[start:end]
    except (CarError, ValueError, KeyError, IndexError, TypeError, RecursionError, OverflowError) as error:
        raise CarError(Reason.car_header_invalid) from error
    if not exact or type(version) is not int or version != 1 or type(root) is not bytes:
        raise CarError(Reason.car_header_invalid)
    return root, end


def _cid_length(section: bytes) -> int:
    """Length of the CID at the start of a section, for CIDs other than the usual 36 bytes."""
    if section.startswith(b"\x12\x20"):
        length = 34
    else:
        try:
            version, at = _varint(section, 0)
            _codec, at = _varint(section, at)
            _hash, at = _varint(section, at)
            digest, at = _varint(section, at)
        except CarError as error:
            raise CarError(Reason.car_block_invalid, "CID") from error
        if version != 1:
            raise CarError(Reason.car_block_invalid, "CID version")
        length = at + digest
    if length > len(section):
        raise CarError(Reason.car_block_invalid, "CID beyond its block")
    return length


def write_car(root: bytes, blocks: Mapping[bytes, bytes]) -> bytes:
    """An archive with one root, 36 bytes, and ``blocks`` by CID in their order."""
    parts = [_BEFORE_ROOT, root, _AFTER_ROOT]
    for cid, block in blocks.items():
        parts += (_write_varint(len(cid) + len(block)), cid, block)
    return b"".join(parts)


def _write_varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
