"""Finding the operations for whose data Postgres refuses a batch, by halves (design §3)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from firehose_indexer.records.base import Table
from firehose_indexer.store.batch import Batch, Key

Place = tuple[Table, Key]


async def bad_changes(batch: Batch, accepts: Callable[[Batch], Awaitable[bool]]) -> list[Place]:
    """The changes that fail by themselves: about ``2 · log2(n)`` trials for each.

    ``accepts`` tries a batch and takes it back.
    """
    places = [(table, key) for table, changes in batch.changes.items() for key in changes]
    return await _search(batch, places, accepts)


async def _search(
    batch: Batch, places: list[Place], accepts: Callable[[Batch], Awaitable[bool]]
) -> list[Place]:
    if not places or await accepts(_part(batch, places)):
        return []
    if len(places) == 1:
        return places
    middle = len(places) // 2
    return [*await _search(batch, places[:middle], accepts), *await _search(batch, places[middle:], accepts)]


def _part(batch: Batch, places: list[Place]) -> Batch:
    """A batch of these changes alone, without cursor, losses or repo states."""
    part = Batch(batch.source)
    for table, key in places:
        part.changes.setdefault(table, {})[key] = batch.changes[table][key]
    return part
