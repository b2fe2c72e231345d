"""app.bsky.feed.like (records §2.2)."""

from __future__ import annotations

from collections.abc import Iterable

from firehose_indexer.records.base import Collection, Count, count_on_record
from firehose_indexer.records.subject import SubjectRow, subject_notices, subject_row, subject_table


def counts(row: SubjectRow) -> Iterable[Count]:
    return (count_on_record("likes", row.subject_actor_id, row.subject_coll, row.subject_rkey),)


COLLECTION = Collection(
    nsid="app.bsky.feed.like",
    table=subject_table("likes"),
    row=subject_row,
    counts=counts,
    notices=subject_notices("like"),
)
