"""A contiguous run of one stream, folded: per record key only the last state counts (design §3).

The batch speaks DIDs and NSIDs and knows no SQL. It closes on size, bytes or time; the writer turns it
into one transaction.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import NamedTuple

from firehose_indexer.errors import Rejected
from firehose_indexer.records.base import Collection, Row, Table
from firehose_indexer.repo.commit import Op
from firehose_indexer.store.chains import Chain
from firehose_indexer.stream.events import Account, Gap
from firehose_indexer.stream.source import Source

OP_OVERHEAD = 1_000
"""Bytes a folded operation holds in memory beside its block: measured, for the memory ceiling."""


class Change:
    """What a record key ends as. ``row`` None: gone. ``fresh``: the key is believed to be new."""

    __slots__ = ("fresh", "op", "row")

    def __init__(self, row: Row | None, op: Op, fresh: bool) -> None:
        self.row = row
        self.op = op
        self.fresh = fresh


class Refusal(NamedTuple):
    """One line for quarantine. ``did`` and ``path`` are None where nobody can tell."""

    scope: str
    reason: str
    detail: str
    body: bytes
    size: int
    seq: int | None = None
    did: str | None = None
    rev: str | None = None
    path: str | None = None
    cid: bytes | None = None


Key = tuple[str, ...]


class Batch:
    """Everything one transaction writes. Bounded by whoever fills it: see ``bytes`` and ``ops``."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.watermark: int | None = None
        self.event_time: datetime | None = None
        self.events = 0
        self.ops = 0
        self.bytes = 0
        self.changes: dict[Table, dict[Key, Change]] = {}
        self.chains: dict[str, Chain] = {}
        self.accounts: dict[str, tuple[Account, datetime]] = {}
        self.seen: set[str] = set()
        self.refused_ops: dict[Key, Refusal] = {}
        self.vacated: set[Key] = set()
        self.refusals: list[Refusal] = []
        self.gaps: list[Gap] = []
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self.records: Counter[tuple[str, str]] = Counter()
        self.notes: Counter[tuple[str, str, str]] = Counter()

    @property
    def empty(self) -> bool:
        return not (self.events or self.refusals or self.gaps)

    def put(self, collection: Collection, op: Op, row: Row) -> None:
        """The record stands, as ``row``."""
        changes, key = self._place(collection, op)
        before = changes.get(key)
        changes[key] = Change(row, op, op.created and before is None)
        self._count(op, "update" if not op.created else "create")

    def drop(self, collection: Collection | None, op: Op) -> None:
        """The record is gone. ``collection`` is None when the path itself is unusable."""
        self._clear(collection, op)
        if collection is not None:
            self._count(op, "delete")

    def refuse(self, collection: Collection | None, op: Op, fault: Rejected) -> None:
        """The repo holds a record that cannot be a row: what stood at its key is withdrawn (records §1.8).

        ``collection`` is None when the path itself is unusable.
        """
        self._clear(collection, op)
        self.refused_ops[(op.did, op.path)] = refusal_of(op, fault)
        self.outcomes["quarantine", str(fault.reason)] += 1
        self._weigh(op)

    def _clear(self, collection: Collection | None, op: Op) -> None:
        """No row stands at this key; where none ever can, there is only a quarantine entry to end."""
        if collection is None or (len(collection.table.key) == 1 and op.rkey != "self"):
            self.refused_ops.pop((op.did, op.path), None)
            self.vacated.add((op.did, op.path))
        else:
            changes, key = self._place(collection, op)
            changes[key] = Change(None, op, False)

    def _place(self, collection: Collection, op: Op) -> tuple[dict[Key, Change], Key]:
        table = collection.table
        changes = self.changes.get(table)
        if changes is None:
            changes = self.changes[table] = {}
        if self.refused_ops:
            self.refused_ops.pop((op.did, op.path), None)
        key = (op.did, op.rkey) if len(table.key) < 3 else (op.did, op.collection, op.rkey)
        return changes, key

    def _count(self, op: Op, action: str) -> None:
        self.records[op.collection, action] += 1
        self._weigh(op)

    def _weigh(self, op: Op) -> None:
        self.ops += 1
        self.bytes += OP_OVERHEAD if op.block is None else OP_OVERHEAD + len(op.block)


def refusal_of(op: Op, fault: Rejected) -> Refusal:
    """The quarantine line of one op, with the record's own bytes (services i)."""
    body = op.block or b""
    return Refusal("op", fault.code, fault.detail, body, len(body), op.seq, op.did, op.rev, op.path, op.cid)
