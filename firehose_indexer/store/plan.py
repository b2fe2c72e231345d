"""What one table must undergo, as a pure function of stored rows and wanted changes (records §1.11).

Rows here are interned: accounts are ids. Nothing is written; the writer executes the plan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from firehose_indexer.records.base import Count, Counter, Row
from firehose_indexer.store.statements import TableSql

Deltas = dict[tuple[Counter, str], dict[tuple[Any, ...], int]]
"""Units by counter and column, then by key."""
Counts = Callable[[Row], Iterable[Count]]


class Plan:
    """``delete``: keys. ``insert``: rows as lists, ready but for NSIDs. ``hide``, ``show``: keys of stored
    rows whose shadow flag turns. ``added``, ``removed``: rows whose effects appear or go."""

    def __init__(self, sql: TableSql) -> None:
        self.sql = sql
        self.delete: list[tuple[Any, ...]] = []
        self.insert: list[list[Any]] = []
        self.hide: list[tuple[Any, ...]] = []
        self.show: list[tuple[Any, ...]] = []

    @property
    def empty(self) -> bool:
        return not (self.delete or self.insert or self.hide or self.show)


def tally(deltas: Deltas, counts: Counts, row: Row, unit: int) -> None:
    for counter, key, column in counts(row):
        units = deltas[counter, column]
        units[key] = units.get(key, 0) + unit


def plan_plain(plan: Plan, removed: list[Row], added: list[list[Any]], counts: Counts, deltas: Deltas) -> None:
    """A table without groups: every row is visible."""
    for row in removed:
        plan.delete.append(plan.sql.key_of(row))
        tally(deltas, counts, row, -1)
    make = plan.sql.make
    for cells in added:
        plan.insert.append(cells)
        tally(deltas, counts, make(cells), 1)


def contested(sql: TableSql, removed: list[Row], looked: list[list[Any]], added: list[list[Any]]) -> set[Any]:
    """Groups whose visible row cannot be told from the added rows alone."""
    found = {sql.group_of(row) for row in removed}
    found.update(sql.group_of(cells) for cells in looked)
    once: set[Any] = set()
    for cells in added:
        group = sql.group_of(cells)
        if group in once:
            found.add(group)
        once.add(group)
    return found


def plan_groups(
    plan: Plan,
    removed: list[Row],
    added: list[list[Any]],
    stored: Iterable[Row],
    groups: set[Any],
    counts: Counts,
    deltas: Deltas,
) -> None:
    """Of each group the smallest rkey is visible; only visible rows have effects.

    ``groups`` are the contested ones and ``stored`` all their rows; every other added row is alone.
    """
    sql = plan.sql
    shadow_at, make = sql.shadow_at, sql.make
    gone = set()
    for row in removed:
        key = sql.key_of(row)
        gone.add(key)
        plan.delete.append(key)
        if not row.shadow:
            tally(deltas, counts, row, -1)
    staying: dict[Any, list[Row]] = {}
    for row in stored:
        if sql.key_of(row) not in gone:
            staying.setdefault(sql.group_of(row), []).append(row)
    coming: dict[Any, list[list[Any]]] = {}
    for cells in added:
        plan.insert.append(cells)
        group = sql.group_of(cells)
        if group in groups:
            coming.setdefault(group, []).append(cells)
        else:
            tally(deltas, counts, make(cells), 1)
    rkey_at = sql.rkey_at
    for group in groups:
        kept, new = staying.get(group, []), coming.get(group, [])
        if not kept and not new:
            continue
        first = min([row[rkey_at] for row in kept] + [cells[rkey_at] for cells in new], key=str.encode)
        for row in kept:
            visible = row[rkey_at] == first
            if visible == row.shadow:
                (plan.show if visible else plan.hide).append(sql.key_of(row))
                tally(deltas, counts, row, 1 if visible else -1)
        for cells in new:
            cells[shadow_at] = cells[rkey_at] != first
            if not cells[shadow_at]:
                tally(deltas, counts, make(cells), 1)
