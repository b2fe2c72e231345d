"""What one table must undergo, as a pure function of stored rows and wanted changes (records §1.11).

Rows here are interned: accounts are ids. Nothing is written; ``tables`` executes the plan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from firehose_indexer.records.base import Count, Counter, Row
from firehose_indexer.store.statements import TableSql

Deltas = dict[tuple[Counter, str], dict[tuple[Any, ...], int]]
"""Units by counter and column, then by key."""
Counts = Callable[[Row], Iterable[Count]]
Key = tuple[Any, ...]


class Plan:
    """``delete``: keys. ``insert``: rows. ``hide``, ``show``: keys of stored rows whose shadow flag turns."""

    def __init__(self) -> None:
        self.delete: list[Key] = []
        self.insert: list[Row] = []
        self.hide: list[Key] = []
        self.show: list[Key] = []


def tally(deltas: Deltas, counts: Counts, rows: Iterable[Row], unit: int) -> None:
    """The effects of visible rows that appear (1) or go (−1)."""
    for row in rows:
        for counter, key, column in counts(row):
            units = deltas[counter, column]
            units[key] = units.get(key, 0) + unit


def plan_plain(sql: TableSql, removed: list[Row], added: list[Row], counts: Counts, deltas: Deltas) -> Plan:
    """A table without groups: every row is visible."""
    plan = Plan()
    plan.delete = [sql.key_of(row) for row in removed]
    plan.insert = added
    tally(deltas, counts, removed, -1)
    tally(deltas, counts, added, 1)
    return plan


def contested(sql: TableSql, removed: list[Row], looked: list[Row], added: list[Row]) -> set[Key]:
    """Groups whose visible row cannot be told from the added rows alone."""
    found = {sql.group_of(row) for row in removed}
    found.update(map(sql.group_of, looked))
    groups = list(map(sql.group_of, added))
    if len(set(groups)) < len(groups):
        once: set[Key] = set()
        for group in groups:
            (found if group in once else once).add(group)
    return found


def plan_groups(
    sql: TableSql,
    removed: list[Row],
    added: list[Row],
    stored: Iterable[Row],
    groups: set[Key],
    counts: Counts,
    deltas: Deltas,
) -> Plan:
    """Of each group the smallest rkey is visible; only visible rows have effects.

    ``groups`` are the contested ones and ``stored`` all their rows; every other added row is alone.
    """
    plan = Plan()
    plan.delete = [sql.key_of(row) for row in removed]
    tally(deltas, counts, [row for row in removed if not row.shadow], -1)
    gone = set(plan.delete)
    staying: dict[Key, list[Row]] = {}
    for row in stored:
        if sql.key_of(row) not in gone:
            staying.setdefault(sql.group_of(row), []).append(row)
    coming: dict[Key, list[Row]] = {}
    if groups:
        alone = []
        for row in added:
            group = sql.group_of(row)
            if group in groups:
                coming.setdefault(group, []).append(row)
            else:
                alone.append(row)
        added = alone
    plan.insert = list(added)
    tally(deltas, counts, added, 1)
    for group in groups:
        _settle(sql, plan, staying.get(group, []), coming.get(group, []), counts, deltas)
    return plan


def _settle(
    sql: TableSql, plan: Plan, kept: list[Row], new: list[Row], counts: Counts, deltas: Deltas
) -> None:
    """One contested group: who is visible now, and what that changes."""
    if not kept and not new:
        return
    first = min((row.rkey for row in (*kept, *new)), key=str.encode)
    for row in kept:
        visible = row.rkey == first
        if visible == row.shadow:
            (plan.show if visible else plan.hide).append(sql.key_of(row))
            tally(deltas, counts, (row,), 1 if visible else -1)
    for row in new:
        plan.insert.append(row._replace(shadow=row.rkey != first))
        if row.rkey == first:
            tally(deltas, counts, (row,), 1)
