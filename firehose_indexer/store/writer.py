"""One batch becomes one transaction: rows, counts, repo states, losses and the cursor (design §3).

The tables are always touched in the same order and keys are sorted before they are locked. Creates go
in by binary COPY on the assumption that they are new; a table where that fails is looked at first in
the next attempt.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from firehose_indexer.records.base import COUNTERS, Counter, Table
from firehose_indexer.records.registry import Registry
from firehose_indexer.store import losses
from firehose_indexer.store.actors import Actors, Terms
from firehose_indexer.store.batch import Batch
from firehose_indexer.store.plan import Deltas
from firehose_indexer.store.statements import CounterSql, array_literal
from firehose_indexer.store.tables import TableWriter, arrays

SEE_REPOS = """
insert into ix.repos (actor_id) select unnest($1::int4[]) on conflict (actor_id) do nothing
"""
SAVE_REPOS = """
insert into ix.repos as t (actor_id, rev, data)
select * from unnest($1::text::int4[], $2::text::text[], $3::bytea[])
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


class Writer:
    """Knows how to apply a batch on a connection whose transaction somebody else has begun."""

    def __init__(
        self, registry: Registry, actors: Actors, *, code_version: str, checkpoint: Checkpoint
    ) -> None:
        self._actors = actors
        self._tables = {table: TableWriter(table, registry.counts_of(table)) for table in registry.tables}
        self._counters = {
            (counter, column): CounterSql(counter, column)
            for counter in COUNTERS
            for column in counter.columns
        }
        self._code_version = code_version
        self._checkpoint = checkpoint
        self.rows_written: dict[str, int] = {}

    async def write(self, connection: Any, batch: Batch, look: frozenset[Table]) -> Terms:
        """Everything of ``batch`` but the commit. Returns the terms used, for ``Actors.remember``.

        ``look``: tables whose rows must not be assumed new. Raises WouldCollide to ask for one more, and
        whatever the driver raises.
        """
        work = [
            (table, writer, changes)
            for table, writer in self._tables.items()
            if (changes := batch.changes.get(table))
        ]
        dids = _named_beside_rows(batch).union(*(writer.dids(changes) for _, writer, changes in work))
        nsids = set().union(*(writer.nsids(changes) for _, writer, changes in work))
        terms = await self._actors.resolve(connection, dids, nsids)
        deltas: Deltas = {key: {} for key in self._counters}
        written: dict[str, int] = {}
        for table, writer, changes in work:
            rows = await writer.write(connection, changes, terms, deltas, look=table in look)
            written[table.name] = rows
        await self._checkpoint("after rows")
        await self._write_counts(connection, deltas, terms)
        await self._write_repos(connection, batch, terms)
        await losses.write(connection, batch, terms.ids, self._code_version)
        source = batch.source
        await connection.execute(SAVE_CURSOR, source.host, source.endpoint, batch.watermark, batch.event_time)
        self.rows_written = written
        return terms

    async def _write_counts(self, connection: Any, deltas: Deltas, terms: Terms) -> None:
        for (counter, column), units in deltas.items():
            sql = self._counters[counter, column]
            for statement, sign in ((sql.add, 1), (sql.take, -1)):
                items = sorted(item for item in units.items() if item[1] * sign > 0)
                if items:
                    keys = arrays(counter.key, [key for key, _ in items], terms)
                    given = array_literal([unit for _, unit in items])
                    await _exactly(connection, counter, len(items), statement, *keys, given)

    async def _write_repos(self, connection: Any, batch: Batch, terms: Terms) -> None:
        ids = terms.ids
        if batch.seen:
            await connection.execute(SEE_REPOS, sorted(ids[did] for did in batch.seen))  # type: ignore[type-var]
        whole = sorted(
            (ids[did], chain[0], chain[1]) for did, chain in batch.chains.items() if chain[2] is None
        )
        if whole:
            actors, revs, roots = zip(*whole, strict=True)
            await connection.execute(SAVE_REPOS, array_literal(actors), array_literal(revs), roots)
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


async def _exactly(connection: Any, counter: Counter, rows: int, statement: str, *columns: str) -> None:
    """A count that was never given, or would fall below zero, is a bug of ours: it must stop us."""
    try:
        done = await connection.execute(statement, *columns)
    except Exception as error:
        if getattr(error, "sqlstate", None) == "23514":
            raise RuntimeError(f"{counter.table}: a count would fall below zero: {error}") from error
        raise
    if int(done.rsplit(" ", 1)[1]) != rows:
        raise RuntimeError(f"{counter.table}: a count to take back was never given")


def _named_beside_rows(batch: Batch) -> set[str]:
    """Accounts that a batch names outside its rows."""
    dids = {*batch.chains, *batch.seen}
    dids.update(refusal.did for refusal in (*batch.refusals, *batch.refused_ops.values()) if refusal.did)
    dids.update(did for did, _ in batch.vacated)
    return dids


def _status(text: str | None) -> str | None:
    """As given, at most 64 bytes (records §6.2), without the one character Postgres cannot hold."""
    return None if text is None else text.replace("\0", "\x1a").encode()[:64].decode(errors="ignore")
