"""The shelf of the resolver: ``ix.identities``, and the proven handles of ``ix.actors`` (records §6.1)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import asyncpg

from firehose_indexer.errors import CommitError, Reason
from firehose_indexer.identity.cache import Finding, HandleState
from firehose_indexer.identity.document import Identity
from firehose_indexer.identity.outcome import Outcome
from firehose_indexer.repo.keys import Curve, PublicKey
from firehose_indexer.store.actors import ADD, FIND
from firehose_indexer.store.patience import patiently

OUTCOMES: Final = (Outcome.ok, Outcome.not_found, Outcome.bad_document)
STATES: Final = (HandleState.unknown, HandleState.valid, HandleState.invalid)
CURVES: Final = {Curve.K256: 1, Curve.P256: 2}
_CURVE_OF: Final = {number: curve for curve, number in CURVES.items()}
UNUSABLE: Final = 0
KEPT_HOURS: Final = 72
"""How long the last proven handle stays while nobody answers for it."""

LOAD = """
select a.did, i.* from ix.actors a join ix.identities i on i.actor_id = a.id where a.did = any($1::text[])
"""
_COLUMNS = (
    *("actor_id int4", "outcome int2", "key_type int2", "key bytea", "pds text", "handle_claimed text"),
    *("labeler text", "label_key_type int2", "label_key bytea", "handle_state int2"),
    *("handle_checked_at timestamptz", "misses int2", "generation int4", "fetched_at timestamptz"),
    "expires_at timestamptz",
)
_NAMES = tuple(column.partition(" ")[0] for column in _COLUMNS)
SAVE = f"""
insert into ix.identities as old ({", ".join(_NAMES)})
select * from unnest({", ".join(f"${at}::{c.partition(' ')[2]}[]" for at, c in enumerate(_COLUMNS, 1))}) k
on conflict (actor_id) do update
set {", ".join(f"{name} = excluded.{name}" for name in _NAMES[1:] if name != "generation")},
    generation = greatest(old.generation, excluded.generation)
where old.fetched_at <= excluded.fetched_at
returning actor_id
"""
# Two steps, because the index on handles is checked row by row: accounts may swap theirs.
CLEAR_HANDLES = """
update ix.actors a set handle = null, handle_checked_at = k.at
from unnest($1::int4[], $2::text[], $3::timestamptz[]) k(id, handle, at)
where a.id = k.id and a.handle is distinct from k.handle
"""
TAKE_HANDLES = """
update ix.actors a set handle = null
from unnest($1::int4[], $2::text[]) k(id, handle) where a.handle = k.handle and a.id <> k.id
returning a.id
"""
DOUBT_HANDLES = """
update ix.identities set handle_state = 0, handle_checked_at = null where actor_id = any($1::int4[])
"""
GIVE_HANDLES = """
update ix.actors a set handle = k.handle, handle_checked_at = k.at
from unnest($1::int4[], $2::text[], $3::timestamptz[]) k(id, handle, at)
where a.id = k.id and (a.handle, a.handle_checked_at) is distinct from (k.handle, k.at)
"""
FORGET_HANDLES = f"""
update ix.actors set handle = null
where id = any($1::int4[]) and handle is not null and handle_checked_at < now() - interval '{KEPT_HOURS} hours'
"""
EXPIRE = """
update ix.identities set expires_at = 'epoch', handle_checked_at = null, generation = generation + 1
where actor_id = any($1::int4[])
"""


class Identities:
    """A ``Shelf``: both calls wait for the database as long as it takes."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    async def load(self, dids: Collection[str]) -> Sequence[Finding]:
        rows = await patiently(lambda: self._pool.fetch(LOAD, list(dids)))
        return [_finding(row) for row in rows]

    async def save(self, findings: Sequence[Finding]) -> None:
        """Rows and handles in one transaction. A finding older than what is stored changes nothing."""
        await patiently(lambda: self._save(findings))

    async def _save(self, findings: Sequence[Finding]) -> None:
        for attempt in range(3):
            try:
                async with self._pool.acquire() as connection, connection.transaction():
                    await _write(connection, findings)
            except asyncpg.UniqueViolationError:
                # Another shard gave the handle away between two statements; it is settled now.
                if attempt == 2:
                    raise
            else:
                return


async def expire(connection: Any, actor_ids: Collection[int]) -> None:
    """In the transaction of an ``#identity`` event: nothing kept about these accounts is believed any more."""
    await connection.execute(EXPIRE, list(actor_ids))


async def _write(connection: Any, findings: Sequence[Finding]) -> None:
    dids = [finding.did for finding in findings]
    ids = await _intern(connection, dids)
    rows = sorted(((_row(ids[one.did], one), one) for one in findings), key=lambda pair: pair[0][0])
    saved = await connection.fetch(SAVE, *_columns([row for row, _ in rows]))
    accepted = {actor_id for (actor_id,) in saved}
    await _handles(connection, {row[0]: finding for row, finding in rows if row[0] in accepted})


async def _intern(connection: Any, dids: list[str]) -> dict[str, int]:
    ids: dict[str, int] = dict(await connection.fetch(FIND, dids))
    for statement in (ADD, FIND):  # the second for those that another shard has made meanwhile
        if missing := [did for did in dids if did not in ids]:
            ids.update(await connection.fetch(statement, missing))
    return ids


async def _handles(connection: Any, findings: dict[int, Finding]) -> None:
    """What the findings say about handles: given, taken away, or kept for a while."""
    checked = {at: one for at, one in findings.items() if one.handle_checked_at is not None}
    holders: dict[str, int] = {}
    for actor_id, finding in sorted(checked.items(), key=lambda item: item[1].handle_checked_at or 0.0):
        if finding.handle_state is HandleState.valid and (handle := _handle(finding)):
            holders[handle] = actor_id  # of two claims in one set the later stands
    given = {actor_id: handle for handle, actor_id in holders.items()}
    settled = [
        (actor_id, given.get(actor_id), _time(one.handle_checked_at or 0.0))
        for actor_id, one in sorted(checked.items())
        if one.handle_state is not HandleState.unknown
    ]
    if settled:
        await connection.execute(CLEAR_HANDLES, *_columns(settled))
        taken = await connection.fetch(TAKE_HANDLES, *_columns([row[:2] for row in settled]))
        if taken:
            await connection.execute(DOUBT_HANDLES, [actor_id for (actor_id,) in taken])
    if held := [row for row in settled if row[1] is not None]:
        await connection.execute(GIVE_HANDLES, *_columns(held))
    if unknown := [at for at, one in checked.items() if one.handle_state is HandleState.unknown]:
        await connection.execute(FORGET_HANDLES, sorted(unknown))


def _handle(finding: Finding) -> str | None:
    return finding.identity.handle if finding.identity is not None else None


def _row(actor_id: int, finding: Finding) -> tuple[Any, ...]:
    identity = finding.identity
    key = identity.key if identity is not None else None
    label_key = identity.label_key if identity is not None else None
    problem = identity.key_problem if identity is not None else None
    return (
        actor_id,
        OUTCOMES.index(finding.outcome),
        CURVES[key.curve] if key is not None else UNUSABLE if problem is Reason.key_unsupported else None,
        key.point if key is not None else None,
        identity.pds if identity is not None else None,
        _handle(finding),
        identity.labeler if identity is not None else None,
        CURVES[label_key.curve] if label_key is not None else None,
        label_key.point if label_key is not None else None,
        STATES.index(finding.handle_state),
        _time(finding.handle_checked_at) if finding.handle_checked_at is not None else None,
        min(finding.misses, 32_767),
        finding.generation,
        _time(finding.fetched_at),
        _time(finding.expires_at),
    )


def _finding(row: Any) -> Finding:
    outcome = OUTCOMES[row["outcome"]]
    checked = row["handle_checked_at"]
    fetched, expires = row["fetched_at"].timestamp(), row["expires_at"].timestamp()
    return Finding(
        row["did"],
        outcome,
        _identity(row) if outcome is Outcome.ok else None,
        fetched_at=fetched,
        soft_at=(fetched + expires) / 2 if expires > fetched else expires,
        expires_at=expires,
        misses=row["misses"],
        generation=row["generation"],
        handle_state=STATES[row["handle_state"]],
        handle_checked_at=checked.timestamp() if checked is not None else None,
    )


def _identity(row: Any) -> Identity:
    key = _key(row["key_type"], row["key"])
    problem = Reason.key_missing if row["key_type"] is None else Reason.key_unsupported
    return Identity(
        row["did"],
        key,
        None if key is not None else problem,
        pds=row["pds"],
        handle=row["handle_claimed"],
        labeler=row["labeler"],
        label_key=_key(row["label_key_type"], row["label_key"]),
    )


def _key(kind: int | None, point: bytes | None) -> PublicKey | None:
    if kind not in _CURVE_OF or point is None:
        return None
    try:
        return PublicKey(_CURVE_OF[kind], point)
    except CommitError:  # an imported one, at which nobody had looked
        return None


def _columns(rows: Iterable[Sequence[Any]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
