"""app.bsky.feed.repost (records §2.3)."""

from __future__ import annotations

from collections.abc import Iterable

from firehose_indexer.records.base import Collection, Count, count_on_record
from firehose_indexer.records.subject import REPOST, SubjectRow, subject_notices, subject_row, subject_table


def counts(row: SubjectRow) -> Iterable[Count]:
    return (count_on_record("reposts", row.subject_actor_id, row.subject_coll, row.subject_rkey),)


COLLECTION = Collection(
    nsid=REPOST,
    table=subject_table("reposts"),
    row=subject_row,
    counts=counts,
    notices=subject_notices("repost"),
)
