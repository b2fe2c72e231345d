"""One batch becomes one transaction: rows, counts, repo states, losses and the cursor (design §3).

The tables are always touched in the same order and keys are sorted before they are locked. Creates go
in by binary COPY on the assumption that they are new; a table where that fails is looked at first in
the next attempt.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from firehose_indexer.records.base import COUNTERS, Collection, Counter, Table
from firehose_indexer.records.registry import Registry
from firehose_indexer.store import losses
from firehose_indexer.store.actors import Actors
from firehose_indexer.store.batch import Batch, Change
from firehose_indexer.store.plan import Counts, Deltas, Plan, contested, plan_groups, plan_plain
from firehose_indexer.store.statements import CounterSql, TableSql

CID_PREFIX = bytes.fromhex("01711220")
"""Every record's CID starts with it, so tables keep the 32 bytes that differ."""

SEE_REPOS = """
insert into ix.repos (actor_id) select unnest($1::int4[]) on conflict (actor_id) do nothing
"""
SAVE_REPOS = """
insert into ix.repos as t (actor_id, rev, data)
select * from unnest($1::int4[], $2::text[], $3::bytea[])
on conflict (actor_id) do update
set rev = excluded.rev, data = excluded.data, state = 0, reason = null, since_seq = null
"""
BREAK_REPOS = """
insert into ix.repos as t (actor_id, rev, data, state, reason, since_seq)
select actor_id, rev, data, 1, reason, since_seq
from unnest($1::int4[], $2::text[], $3::bytea[], $4::text[], $5::int8[]) k(actor_id, rev, data, reason, since_seq)
on conflict (actor_id) do update
set rev = excluded.rev, data = excluded.data, state = 1, reason = excluded.reason, since_seq = excluded.since_seq
"""
SAVE_ACCOUNTS = """
update ix.actors t set active = k.active, status = k.status, status_at = k.at, status_seq = k.seq, status_source = $1
from unnest($2::int4[], $3::bool[], $4::text[], $5::timestamptz[], $6::int8[]) k(id, active, status, at, seq)
where t.id = k.id and (t.status_source is distinct from $1 or t.status_seq is null or t.status_seq < k.seq)
"""
SAVE_CURSOR = """
insert into ix.stream_cursors as t (source, endpoint, watermark, received, event_time)
values ($1, $2, $3, $3, $4)
on conflict (source, endpoint) do update
set watermark = coalesce(excluded.watermark, t.watermark), received = coalesce(excluded.received, t.received),
    event_time = coalesce(excluded.event_time, t.event_time), updated_at = now()
"""

Checkpoint = Callable[[str], Awaitable[None]]


class WouldCollide(Exception):
    """A row believed to be new was there: the table must be looked at first."""

    def __init__(self, table: Table) -> None:
        super().__init__(table.name)
        self.table = table


class Writer:
    """Knows how to apply a batch on a connection whose transaction somebody else has begun."""

    def __init__(self, registry: Registry, actors: Actors, *, code_version: str, checkpoint: Checkpoint) -> None:
        self._actors = actors
        self._tables = {table: TableSql(table) for table in registry.tables}
        self._counters = {
            (counter, column): CounterSql(counter, column)
            for counter in COUNTERS
            for column in counter.columns
        }
        self._counts: dict[Table, Counts] = {}
        for collection in registry.collections:
            self._counts[collection.table] = self._counts_of(collection)
        self._code_version = code_version
        self._checkpoint = checkpoint
        self.rows_written: dict[str, int] = {}

    def _counts_of(self, collection: Collection) -> Counts:
        if collection.table in self._counts:
            raise ValueError(f"two collections with effects share {collection.table.name}")
        return collection.counts

    async def write(self, connection: Any, batch: Batch, look: frozenset[Table]) -> dict[str, int]:
        """Everything of ``batch`` but the commit. Returns the actor ids made, for ``Actors.remember``.

        ``look``: tables whose rows must not be assumed new. Raises WouldCollide to ask for one more, and
        whatever the driver raises.
        """
        ids, fresh = await self._actors.resolve(connection, self._dids(batch))
        colls = await self._actors.resolve_collections(connection, self._nsids(batch))
        self._actors.remember_collections(colls)
        deltas: Deltas = {key: {} for key in self._counters}
        written: dict[str, int] = {}
        for table, sql in self._tables.items():
            changes = batch.changes.get(table)
            if changes:
                plan = await self._plan(connection, sql, changes, ids, colls, table in look, deltas)
                await self._execute(connection, plan, colls)
                written[table.name] = len(plan.insert) + len(plan.delete)
        await self._checkpoint("after rows")
        await self._write_counts(connection, deltas, colls)
        await self._write_repos(connection, batch, ids)
        await losses.write(connection, batch, ids, self._code_version)
        await connection.execute(SAVE_CURSOR, batch.source.host, batch.source.endpoint, batch.watermark, batch.event_time)
        self.rows_written = written
        return fresh

    def _dids(self, batch: Batch) -> set[str]:
        dids = set(batch.chains)
        dids.update(batch.seen)
        dids.update(refusal.did for refusal in batch.refusals if refusal.did)
        dids.update(refusal.did for refusal in batch.refused_ops.values() if refusal.did)
        for table, changes in batch.changes.items():
            positions = self._tables[table].actor_at
            for change in changes.values():
                row = change.row
                if row is None:
                    dids.add(change.op.did)
                else:
                    for at in positions:
                        dids.add(row[at])
        dids.discard(None)  # type: ignore[arg-type]
        return dids

    def _nsids(self, batch: Batch) -> set[str]:
        nsids: set[str] = set()
        for table, changes in batch.changes.items():
            sql = self._tables[table]
            if sql.coll_at:
                for change in changes.values():
                    row = change.row
                    if row is not None:
                        for at in sql.coll_at:
                            nsids.add(row[at])
                    elif sql.key_coll_at:
                        nsids.add(change.op.collection)
        nsids.discard(None)  # type: ignore[arg-type]
        return nsids

    async def _plan(
        self,
        connection: Any,
        sql: TableSql,
        changes: dict[tuple[str, ...], Change],
        ids: dict[str | None, int | None],
        colls: dict[str | None, int | None],
        look: bool,
        deltas: Deltas,
    ) -> Plan:
        plan = Plan(sql)
        counts = self._counts.get(sql.table, _nothing)
        looked_keys: list[tuple[Any, ...]] = []
        wanted: list[tuple[tuple[Any, ...], list[Any] | None]] = []
        added: list[list[Any]] = []
        actor_at, key_of = sql.actor_at, sql.key_of
        cid_at = sql.cid_at
        for key, change in changes.items():
            cells: list[Any] | None = None
            if change.row is not None:
                cells = list(change.row)
                for at in actor_at:
                    cells[at] = ids[cells[at]]
                cells[cid_at] = cells[cid_at][4:]
                if change.fresh and not look:
                    added.append(cells)
                    continue
                interned = key_of(cells)
            else:
                interned = (ids[key[0]], *key[1:])[: len(sql.table.key)]
            looked_keys.append(interned)
            wanted.append((interned, cells))
        stored = await self._stored(connection, sql, sql.select, sql.table.key, looked_keys, colls)
        before = {key_of(row): row for row in stored}
        removed, looked = [], []
        for interned, cells in wanted:
            old = before.get(interned)
            if old is not None:
                if cells is not None and old[cid_at] == cells[cid_at]:
                    continue
                removed.append(old)
            if cells is not None:
                looked.append(cells)
        added.extend(looked)
        if not sql.table.group:
            plan_plain(plan, removed, added, counts, deltas)
            return plan
        groups = contested(sql, removed, looked, added)
        groups |= await self._occupied(connection, sql, added, groups, colls)
        members = await self._stored(
            connection, sql, sql.select_groups, ("actor_id", *sql.table.group), sorted(groups), colls
        )
        plan_groups(plan, removed, added, members, groups, counts, deltas)
        return plan

    async def _occupied(
        self,
        connection: Any,
        sql: TableSql,
        added: list[list[Any]],
        known: set[Any],
        colls: dict[str | None, int | None],
    ) -> set[Any]:
        """Groups of ``added`` that have a visible row already.

        Second likes of one subject are too common on the network to learn of them from a failed COPY,
        which leaves its rows behind as bloat.
        """
        group_of = sql.group_of
        asked = sorted({group_of(cells) for cells in added} - known)
        if not asked:
            return set()
        found = await connection.fetch(
            sql.probe_groups, *_arrays(("actor_id", *sql.table.group), asked, colls)
        )
        if not found or not sql.group_coll_at:
            return {tuple(row) for row in found}
        nsids = {at: nsid for nsid, at in colls.items()}
        return {
            tuple(nsids[value] if at in sql.group_coll_at else value for at, value in enumerate(row))
            for row in found
        }

    async def _stored(
        self,
        connection: Any,
        sql: TableSql,
        statement: str,
        columns: tuple[str, ...],
        keys: list[tuple[Any, ...]],
        colls: dict[str | None, int | None],
    ) -> list[Any]:
        """Stored rows by key, as the table's NamedTuple with NSIDs in place of collection ids."""
        if not keys:
            return []
        found = await connection.fetch(statement, *_arrays(columns, keys, colls))
        make = sql.make
        if not sql.coll_at:
            return [make(row.values()) for row in found]
        nsids = {at: nsid for nsid, at in colls.items()}
        rows = []
        for row in found:
            cells = list(row.values())
            for at in sql.coll_at:
                cells[at] = nsids[cells[at]]
            rows.append(make(cells))
        return rows

    async def _execute(self, connection: Any, plan: Plan, colls: dict[str | None, int | None]) -> None:
        """Hides and deletes make room in the unique indexes before anything is inserted or shown."""
        sql = plan.sql
        key = sql.table.key
        if plan.hide:
            await connection.execute(sql.set_shadow, *_arrays(key, sorted(plan.hide), colls))
        if plan.delete:
            await connection.execute(sql.delete, *_arrays(key, sorted(plan.delete), colls))
        if plan.insert:
            for at in sql.coll_at:
                for cells in plan.insert:
                    cells[at] = colls[cells[at]]
            await copy(connection, sql, plan.insert)
        if plan.show:
            await connection.execute(sql.set_shadow, *_arrays(key, sorted(plan.show), colls))

    async def _write_counts(
        self, connection: Any, deltas: Deltas, colls: dict[str | None, int | None]
    ) -> None:
        for (counter, column), units in deltas.items():
            sql = self._counters[counter, column]
            for statement, sign in ((sql.add, 1), (sql.take, -1)):
                items = sorted(item for item in units.items() if item[1] * sign > 0)
                if items:
                    arrays = _arrays(counter.key, [key for key, _ in items], colls)
                    await _exactly(connection, counter, statement, *arrays, [unit for _, unit in items])

    async def _write_repos(self, connection: Any, batch: Batch, ids: dict[str | None, int | None]) -> None:
        if batch.seen:
            await connection.execute(SEE_REPOS, sorted(ids[did] for did in batch.seen))  # type: ignore[type-var]
        whole = sorted((ids[did], chain[0], chain[1]) for did, chain in batch.chains.items() if chain[2] is None)
        if whole:
            await connection.execute(SAVE_REPOS, *zip(*whole, strict=True))
        broken = sorted((ids[did], *chain) for did, chain in batch.chains.items() if chain[2] is not None)
        if broken:
            await connection.execute(BREAK_REPOS, *zip(*broken, strict=True))
        if batch.accounts:
            said = sorted((ids[did], event, at) for did, (event, at) in batch.accounts.items())
            await connection.execute(
                SAVE_ACCOUNTS,
                batch.source.host,
                [actor_id for actor_id, _, _ in said],
                [event.active for _, event, _ in said],
                [_status(event.status) for _, event, _ in said],
                [at for _, _, at in said],
                [event.seq for _, event, _ in said],
            )


async def copy(connection: Any, sql: TableSql, rows: list[list[Any]]) -> None:
    """Binary COPY straight into the table. Raises WouldCollide when a row was there."""
    try:
        await connection.copy_records_to_table(
            sql.table.name, schema_name="ix", columns=sql.columns, records=rows
        )
    except Exception as error:
        if getattr(error, "sqlstate", None) == "23505":
            raise WouldCollide(sql.table) from error
        raise


async def _exactly(connection: Any, counter: Counter, statement: str, *arrays: list[Any]) -> None:
    """A count that was never given, or would fall below zero, is a bug of ours: it must stop us."""
    try:
        done = await connection.execute(statement, *arrays)
    except Exception as error:
        if getattr(error, "sqlstate", None) == "23514":
            raise RuntimeError(f"{counter.table}: a count would fall below zero: {error}") from error
        raise
    if int(done.rsplit(" ", 1)[1]) != len(arrays[0]):
        raise RuntimeError(f"{counter.table}: a count to take back was never given")


def _arrays(
    columns: tuple[str, ...], keys: list[tuple[Any, ...]], colls: dict[str | None, int | None]
) -> list[list[Any]]:
    """Keys as parallel arrays, NSIDs as ids."""
    arrays = [list(values) for values in zip(*keys, strict=True)]
    for at, column in enumerate(columns):
        if column.endswith("coll"):
            arrays[at] = [colls[nsid] for nsid in arrays[at]]
    return arrays


def _status(text: str | None) -> str | None:
    """As given, at most 64 bytes (records §6.2), without the one character Postgres cannot hold."""
    return None if text is None else text.replace("\0", "\x1a").encode()[:64].decode(errors="ignore")


def _nothing(_row: Any) -> Iterable[Any]:
    return ()
