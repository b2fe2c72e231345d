"""Reading the fields of a record (records §1.1, §1.4, §1.6, §1.8).

Structure raises RecordError with the field's name; an unusable optional value is noted and read as
absent, because an optional field that nobody can read must not cost the record.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from firehose_indexer.errors import Reason, RecordError
from firehose_indexer.records.base import Note, Record
from firehose_indexer.repo.data import cid_from_text, to_json
from firehose_indexer.repo.datetimes import parse as parse_datetime
from firehose_indexer.repo.syntax import AtUri, is_did, record_uri

BLOB_PREFIXES = (bytes.fromhex("01551220"), bytes.fromhex("01711220"))
SELF_LABELS = "com.atproto.label.defs#selfLabels"


def check_type(record: Record) -> None:
    """``$type`` must equal the collection of the path (records §1.8)."""
    found = record.value.get("$type")
    if found != record.collection:
        reason = Reason.type_missing if found is None else Reason.type_mismatch
        raise RecordError(reason, str(found)[:200])


def check_self(record: Record) -> None:
    """The collection has one record, ``self`` (records §1.1)."""
    if record.rkey != "self":
        raise RecordError(Reason.bad_rkey, record.rkey[:100])


def required_text(record: Record, field: str) -> str:
    found = record.value.get(field)
    if found is None:
        raise RecordError(Reason.missing_field, field=field)
    if not isinstance(found, str):
        raise RecordError(Reason.bad_field, type(found).__name__, field=field)
    return found


def required_did(record: Record, field: str) -> str:
    found = record.value.get(field)
    if not isinstance(found, str) or not is_did(found):
        raise RecordError(Reason.bad_did, str(found)[:100], field=field)
    return found


def uri_of(value: object) -> AtUri | None:
    """The record a strong reference points at; its CID decides nothing (records §1.1)."""
    if type(value) is dict:
        uri = value.get("uri")
        if type(uri) is str:
            return record_uri(uri)
    return None


def required_uri(record: Record, field: str) -> AtUri:
    """A strong reference that the row cannot be without."""
    value = record.value.get(field)
    found = uri_of(value)
    if found is None:
        if value is None:
            raise RecordError(Reason.missing_field, field=field)
        raise RecordError(Reason.bad_uri, field=field)
    return found


def created_at(record: Record) -> datetime | None:
    """The author's claim, or None when it is no date (records §1.2)."""
    text = record.value.get("createdAt")
    found = parse_datetime(text)
    if found is None and text is not None:
        record.notes.append(Note("bad_date", "createdAt"))
    return found


def ignored(record: Record, field: str) -> None:
    record.notes.append(Note("field_ignored", field))


def texts(record: Record, field: str) -> list[str] | None:
    """A list of strings; non-strings are dropped, an empty list is None."""
    value = record.value.get(field)
    if value is None:
        return None
    if not isinstance(value, list):
        ignored(record, field)
        return None
    found = [storable(item) for item in value if isinstance(item, str)]
    if len(found) != len(value):
        ignored(record, field)
    return found or None


def storable(text: str) -> str:
    """U+0000 becomes U+001A: Postgres cannot hold the one, and the other is as long (records §1.3)."""
    return text.replace("\0", "\x1a")


def self_labels(record: Record) -> list[str] | None:
    """``labels`` of type selfLabels: at most ten values of at most 128 bytes (records §1.7)."""
    value = record.value.get("labels")
    if value is None:
        return None
    entries = value.get("values") if isinstance(value, dict) and value.get("$type") == SELF_LABELS else None
    if not isinstance(entries, list):
        ignored(record, "labels")
        return None
    found: dict[str, None] = {}
    for entry in entries:
        val = entry.get("val") if isinstance(entry, dict) else None
        if isinstance(val, str) and len(val.encode()) <= 128 and len(found) < 10:
            found[storable(val)] = None
    return list(found) or None


def blob_cid(value: object) -> bytes | None:
    """The CID of a blob in any of the forms that the network has used (records §1.4)."""
    if isinstance(value, dict):
        for field in ("ref", "$link", "cid"):
            if field in value:
                return blob_cid(value[field])
        return None
    if type(value) is bytes:  # a byte string that merely looks like a CID is of a type of its own
        return value if len(value) == 36 and value[:4] in BLOB_PREFIXES else None
    return cid_from_text(value) if isinstance(value, str) else None


def blob(record: Record, field: str) -> bytes | None:
    value = record.value.get(field)
    found = blob_cid(value)
    if found is None and value is not None:
        ignored(record, field)
    return found


def whole(record: Record) -> tuple[str, bytes | None]:
    """The columns ``record`` and ``raw``: JSON, and the block where JSON cannot rebuild it (records §1.3)."""
    form = to_json(record.value, record.block)
    return form.text, record.block if form.lossy else None


def extra(record: Record, known: frozenset[str], unusable: tuple[str, ...] = ()) -> str | None:
    """What a compact table keeps beside its columns: unknown fields and unusable values (records §1.6)."""
    value = record.value
    kept: dict[str, Any] = {field: value[field] for field in value.keys() - known}
    for field in unusable:
        kept[field] = value[field]
    return to_json(kept, record.block).text if kept else None
