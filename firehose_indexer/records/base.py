"""What a collection declares (design §2): its table, the row made from a record, the effects of a row.

Rows are NamedTuples whose fields are the table's columns. Two naming rules carry the types:

* a column that ends in ``actor_id`` holds an account. ``row`` writes a DID; from the store on it is a
  small integer. Effects only pass it on or compare it, so the same function serves both forms;
* a column that ends in ``coll`` holds an NSID, in Python always as text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

Actor = Any
"""A DID (text) before the store has interned it, an id (int) after; opaque to effects."""

Row = Any
"""Some table's NamedTuple."""

new_tuple = tuple.__new__
"""Makes a NamedTuple of the hot path at half the price of its own constructor."""

POST = "app.bsky.feed.post"


class Note(NamedTuple):
    """Something counted, not enforced: ``bad_date``, ``field_ignored`` or ``over_limit`` (records §1.2, §1.8)."""

    kind: str
    field: str


class Record(NamedTuple):
    """A decoded record as ``repo/`` hands it over; ``time`` is its indexed_at (records §1.2)."""

    did: str
    collection: str
    rkey: str
    cid: bytes
    value: dict[str, Any]
    block: bytes
    time: datetime
    notes: list[Note]


@dataclass(frozen=True, eq=False)
class Counter:
    """A table of counts: ``key`` columns and the integer columns that hang on them (records §4).

    Compared by identity: it is a key of dictionaries on the hot path.
    """

    table: str
    key: tuple[str, ...]
    columns: tuple[str, ...]


Count = tuple[Counter, tuple[Any, ...], str]
"""One unit on a column of the counter row with that key: (counter, key, column)."""


POST_COUNTS = Counter(
    "post_counts", ("actor_id", "rkey"), ("likes", "reposts", "replies", "quotes", "bookmarks")
)
RECORD_COUNTS = Counter(
    "record_counts", ("actor_id", "coll", "rkey"), ("likes", "reposts", "bookmarks", "items")
)
ACTOR_COUNTS = Counter("actor_counts", ("actor_id",), ("followers", "follows", "posts"))
COUNTERS = (POST_COUNTS, RECORD_COUNTS, ACTOR_COUNTS)


def count_on_record(column: str, actor: Actor, coll: str, rkey: str) -> Count:
    """A count on any record: posts have a table of their own (records §4)."""
    if coll == POST:
        return POST_COUNTS, (actor, rkey), column
    return RECORD_COUNTS, (actor, coll, rkey), column


class Notice(NamedTuple):
    """A notification that is a function of one visible row and has one recipient (records §3.1).

    Such notifications are not stored: the view ``appview.notifications`` derives them from the row
    itself, so they cannot outlive their cause, be given twice or drift. ``recipient`` is a column;
    ``subject`` names the (actor, coll, rkey) columns of the reason subject, or literals for ``coll``;
    ``unless`` is a further SQL condition on the row (as ``r``) under which there is none.
    """

    reason: str
    recipient: str
    subject: tuple[str, str, str] | None = None
    unless: str = ""


@dataclass(frozen=True)
class Table:
    """Where the rows of one or more collections lie, in schema ``ix``.

    ``group``: columns that, beside ``actor_id``, name the subject; of one actor's rows on one subject
    only the smallest rkey is visible (records §1.11). ``heavy``: columns no effect reads, so that old
    rows are fetched without them.
    """

    name: str
    row: type[Row]
    key: tuple[str, ...] = ("actor_id", "rkey")
    group: tuple[str, ...] = ()
    heavy: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        fields: tuple[str, ...] = self.row._fields
        return fields


def no_counts(_row: Row) -> Iterable[Count]:
    """For collections that count nothing."""
    return ()


@dataclass(frozen=True)
class Collection:
    """Everything the engine knows about one NSID.

    ``row`` raises RecordError when the record cannot be a row of this table; ``counts`` is a pure
    function of a visible row.
    """

    nsid: str
    table: Table
    row: Callable[[Record], Row]
    counts: Callable[[Row], Iterable[Count]] = no_counts
    notices: tuple[Notice, ...] = ()
