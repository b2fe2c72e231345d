"""Where an import of the PLC directory gathers before it becomes ``ix.identities`` (spec/services (a))."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from firehose_indexer.identity.bulk import Staged
from firehose_indexer.identity.operations import Operation
from firehose_indexer.store.identities import CURVES, OUTCOMES, UNUSABLE
from firehose_indexer.store.patience import patiently

_LONG: Final = 86_400.0
COLUMNS: Final = ("did", "created_at", "outcome", "key_type", "key", "pds", "handle")
BEGUN = "select operations, until from ix.plc_import_progress"
PROGRESS = """
insert into ix.plc_import_progress as p (operations, until) values ($1, $2)
on conflict (one) do update set operations = p.operations + excluded.operations, until = excluded.until
"""
MAKE_ACTORS = """
insert into ix.actors (did)
select distinct i.did from ix.plc_import i
where not exists (select from ix.actors a where a.did = i.did) order by 1
on conflict (did) do nothing
"""
# What the directory said as a whole is as of its newest operation. Renewals are spread over half a lifetime,
# or millions of accounts would be asked for in the same minute tomorrow.
MERGE = """
insert into ix.identities as old (actor_id, outcome, key_type, key, pds, handle_claimed, handle_state, fetched_at, expires_at)
select a.id, i.outcome, i.key_type, i.key, i.pds, i.handle, case i.outcome when 0 then 0 else 2 end, $1::timestamptz,
       now() + $2::interval * (0.5 + 0.5 * random())
from (select distinct on (did) * from ix.plc_import order by did, created_at desc, ordinal desc) i
join ix.actors a on a.did = i.did
order by a.id
on conflict (actor_id) do update
set outcome = excluded.outcome, key_type = excluded.key_type, key = excluded.key, pds = excluded.pds,
    labeler = null, label_key_type = null, label_key = null, misses = 0,
    handle_state = case when old.handle_claimed is not distinct from excluded.handle_claimed
                        then old.handle_state else excluded.handle_state end,
    handle_checked_at = case when old.handle_claimed is not distinct from excluded.handle_claimed
                        then old.handle_checked_at end,
    handle_claimed = excluded.handle_claimed,
    fetched_at = excluded.fetched_at, expires_at = excluded.expires_at
where old.fetched_at < excluded.fetched_at
"""


class PlcImport:
    """A ``Staging`` that waits for the database as long as it takes. ``ttl``: seconds that identities are believed."""

    def __init__(self, pool: Any, *, ttl: float = 86_400.0) -> None:
        self._pool = pool
        self._ttl = ttl

    async def begun(self) -> Staged:
        row = await patiently(lambda: self._pool.fetchrow(BEGUN))
        return Staged(0, None) if row is None else Staged(*row)

    async def stage(self, operations: Sequence[Operation], until: datetime | None) -> None:
        """One page and how far it goes, in one transaction."""
        await patiently(lambda: self._stage([_record(one) for one in operations], until))

    async def _stage(self, records: list[tuple[Any, ...]], until: datetime | None) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.copy_records_to_table(
                "plc_import", schema_name="ix", columns=COLUMNS, records=records
            )
            await connection.execute(PROGRESS, len(records), until)

    async def merge(self) -> int:
        return await patiently(self._merge)

    async def _merge(self) -> int:
        async with self._pool.acquire() as connection, connection.transaction():
            # Tens of millions of rows: no ordinary statement.
            await connection.execute("set local statement_timeout = 0")
            until = await connection.fetchval("select until from ix.plc_import_progress")
            accounts: int = await connection.fetchval(
                "select count(distinct did) from ix.plc_import", timeout=_LONG
            )
            if until is not None:
                await connection.execute(MAKE_ACTORS, timeout=_LONG)
                await connection.execute(MERGE, until, timedelta(seconds=self._ttl), timeout=_LONG)
            await connection.execute("truncate ix.plc_import, ix.plc_import_progress")
        return accounts


def _record(one: Operation) -> tuple[Any, ...]:
    kind = CURVES[one.key.curve] if one.key is not None else UNUSABLE if one.key_named else None
    point = one.key.point if one.key is not None else None
    return (one.did, one.created_at, OUTCOMES.index(one.outcome), kind, point, one.pds, one.handle)
