"""One record table within one transaction: what stands there, what must change, and the change itself.

Rows are handled by whole columns where there are many: a comprehension a column costs a third of a loop
over rows.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from operator import itemgetter
from typing import Any

from firehose_indexer.records.base import Row, Table
from firehose_indexer.store.actors import Terms
from firehose_indexer.store.batch import Change
from firehose_indexer.store.batch import Key as RecordKey
from firehose_indexer.store.plan import Counts, Deltas, Key, Plan, contested, plan_groups, plan_plain
from firehose_indexer.store.statements import TableSql, array_literal

DIGEST = 4
"""Bytes before the digest in every record's CID, 01 71 12 20: tables keep the 32 that differ."""
Changes = dict[RecordKey, Change]
FIRST_INSTANT = datetime.min.replace(tzinfo=UTC)

"""Some clients' zero, and a date; but the driver writes it as -infinity."""


class WouldCollide(Exception):
    """A row believed to be new was there: the table must be looked at first."""

    def __init__(self, table: Table) -> None:
        super().__init__(table.name)
        self.table = table


class TableWriter:
    """``counts`` are the effects of the table's visible rows."""

    def __init__(self, table: Table, counts: Counts) -> None:
        self._sql = TableSql(table)
        self._counts = counts
        self._make = partial(tuple.__new__, table.row)
        self._group = ("actor_id", *table.group)

    def dids(self, changes: Changes) -> set[str]:
        """Every account that these rows name."""
        rows = [change.row for change in changes.values() if change.row is not None]
        dids = {change.op.did for change in changes.values() if change.row is None}
        for at in self._sql.actor_at:
            dids.update(map(itemgetter(at), rows))
        dids.discard(None)
        return dids

    def nsids(self, changes: Changes) -> set[str]:
        """Every collection that these rows and their keys name."""
        if not self._sql.coll_at:
            return set()
        rows = [change.row for change in changes.values() if change.row is not None]
        nsids = {change.op.collection for change in changes.values()} if self._sql.key_coll_at else set()
        for at in self._sql.coll_at:
            nsids.update(map(itemgetter(at), rows))
        nsids.discard(None)
        return nsids

    async def write(
        self, connection: Any, changes: Changes, terms: Terms, deltas: Deltas, *, look: bool
    ) -> int:
        """Applies ``changes``, adds their effects to ``deltas``; returns how many rows were touched.

        ``look``: no row may be assumed new. Raises WouldCollide.
        """
        plan = await self._plan(connection, changes, terms, deltas, look=look)
        await self._execute(connection, plan, terms)
        return len(plan.insert) + len(plan.delete)

    async def _plan(
        self, connection: Any, changes: Changes, terms: Terms, deltas: Deltas, *, look: bool
    ) -> Plan:
        sql = self._sql
        fresh = [] if look else [change.row for change in changes.values() if change.fresh]
        added = self._interned(fresh, terms)
        removed: list[Row] = []
        looked: list[Row] = []
        if len(fresh) < len(changes):
            asked = {key: change for key, change in changes.items() if look or not change.fresh}
            removed, looked = await self._replaced(connection, asked, terms)
            added += looked
        if not sql.table.group:
            return plan_plain(sql, removed, added, self._counts, deltas)
        groups = contested(sql, removed, looked, added)
        groups |= await self._occupied(connection, added, groups, terms)
        members = await self._stored(connection, sql.select_groups, self._group, sorted(groups), terms)
        return plan_groups(sql, removed, added, members, groups, self._counts, deltas)

    def _interned(self, rows: list[Row], terms: Terms) -> list[Row]:
        """Rows with ids for DIDs and digests for CIDs."""
        if not rows:
            return []
        columns: list[Any] = list(zip(*rows, strict=True))
        for at in self._sql.actor_at:
            columns[at] = map(terms.ids.__getitem__, columns[at])
        cid_at = self._sql.cid_at
        columns[cid_at] = [cid[DIGEST:] for cid in columns[cid_at]]
        return list(map(self._make, zip(*columns, strict=True)))

    async def _replaced(self, connection: Any, changes: Changes, terms: Terms) -> tuple[list[Row], list[Row]]:
        """The stored rows that go, and the rows that come; a row that is there with its CID does neither."""
        sql, width = self._sql, len(self._sql.table.key)
        keys = [(terms.ids[key[0]], *key[1:])[:width] for key in changes]
        stored = await self._stored(connection, sql.select, sql.table.key, keys, terms)
        before = {sql.key_of(row): row for row in stored}
        wanted = self._interned([change.row for change in changes.values() if change.row is not None], terms)
        after = {sql.key_of(row): row for row in wanted}
        same = {key for key, row in after.items() if key in before and before[key].cid == row.cid}
        return (
            [row for key, row in before.items() if key not in same],
            [row for key, row in after.items() if key not in same],
        )

    async def _occupied(self, connection: Any, added: list[Row], known: set[Key], terms: Terms) -> set[Key]:
        """Groups of ``added`` that have a visible row already.

        Second likes of one subject are too common on the network to learn of them from a failed COPY,
        which leaves its rows behind as bloat.
        """
        asked = list(set(map(self._sql.group_of, added)) - known)
        if not asked:
            return set()
        found = await connection.fetch(self._sql.probe_groups, *arrays(self._group, asked, terms))
        coll_at = self._sql.group_coll_at
        return {
            tuple(terms.nsids[value] if at in coll_at else value for at, value in enumerate(row))
            for row in found
        }

    async def _stored(
        self, connection: Any, statement: str, columns: tuple[str, ...], keys: list[Key], terms: Terms
    ) -> list[Row]:
        """Stored rows by key or group, with NSIDs in place of collection ids."""
        if not keys:
            return []
        rows = []
        for row in await connection.fetch(statement, *arrays(columns, keys, terms)):
            cells = list(row.values())
            for at in self._sql.coll_at:
                cells[at] = terms.nsids[cells[at]]
            rows.append(self._make(cells))
        return rows

    async def _execute(self, connection: Any, plan: Plan, terms: Terms) -> None:
        """Hides and deletes make room in the unique indexes before anything is inserted or shown."""
        sql, key = self._sql, self._sql.table.key
        if plan.hide:
            await connection.execute(sql.set_shadow, *arrays(key, sorted(plan.hide), terms))
        if plan.delete:
            await connection.execute(sql.delete, *arrays(key, sorted(plan.delete), terms))
        if plan.insert:
            await self._copy(connection, plan.insert, terms)
            first = [row for row in plan.insert if row.created_at == FIRST_INSTANT]
            if first:
                keys = arrays(key, list(map(sql.key_of, first)), terms)
                await connection.execute(sql.mend_first_instant, *keys)
        if plan.show:
            await connection.execute(sql.set_shadow, *arrays(key, sorted(plan.show), terms))

    async def _copy(self, connection: Any, rows: list[Row], terms: Terms) -> None:
        """Binary COPY straight into the table. Raises WouldCollide when a row was there."""
        records: Any = rows
        if self._sql.coll_at:
            columns: list[Any] = list(zip(*rows, strict=True))
            for at in self._sql.coll_at:
                columns[at] = map(terms.colls.__getitem__, columns[at])
            records = zip(*columns, strict=True)
        try:
            await connection.copy_records_to_table(
                self._sql.table.name, schema_name="ix", columns=self._sql.columns, records=records
            )
        except Exception as error:
            if getattr(error, "sqlstate", None) == "23505":
                raise WouldCollide(self._sql.table) from error
            raise


def arrays(columns: tuple[str, ...], keys: list[Key], terms: Terms) -> list[str]:
    """Keys as the texts of parallel arrays, NSIDs as ids."""
    found: list[Any] = list(zip(*keys, strict=True))
    for at, column in enumerate(columns):
        if column.endswith("coll"):
            found[at] = [terms.colls[nsid] for nsid in found[at]]
    return [array_literal(values) for values in found]
