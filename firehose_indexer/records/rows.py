"""One op of a commit becomes a row of its collection's table, or the reason why not (records §1.8)."""

from __future__ import annotations

from datetime import datetime

from firehose_indexer.errors import Reason, RecordError
from firehose_indexer.records.base import Collection, Note, Record, Row, new_tuple
from firehose_indexer.repo.data import decode

RECORD_LIMIT = 1_048_576


def row_of(
    collection: Collection,
    did: str,
    nsid: str,
    rkey: str,
    cid: bytes,
    block: bytes,
    time: datetime,
    notes: list[Note],
) -> Row:
    """Raises RecordError. ``notes`` collects what is counted and not enforced."""
    if len(block) > RECORD_LIMIT:
        raise RecordError(Reason.record_too_big, str(len(block)))
    value = decode(block)
    if type(value) is not dict:
        raise RecordError(Reason.record_not_map, type(value).__name__)
    return collection.row(new_tuple(Record, (did, nsid, rkey, cid, value, block, time, notes)))
