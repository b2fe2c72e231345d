"""A database against the oracle, row for row. Accounts are compared as DIDs, collections as NSIDs; ids apart."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import asyncpg

from tests.oracle.reading import Oracle
from tests.oracle.rows import Row
from tests.oracle.tables import RECORD_TABLES, tables
from tests.oracle.views import views

COUNTS = ("post_counts", "record_counts", "actor_counts")
STATUSES = """
    select id as actor_id, active, status, status_at as at, status_seq as seq from ix.actors where status_seq is not null
"""
QUARANTINE = """
    select scope, reason, seq, actor_id as did_actor_id, rev, path, cid, body_sha256 as sha256, body_size as size
    from ix.quarantine where state = 'open'
"""
CURSORS = "select watermark, event_time from ix.stream_cursors"
APART = {"notifications": {"id"}, "firehose_cursor": {"updated_at"}, "quarantine": set()}
SHOWN = 5


async def check(dsn: str, oracle: Oracle) -> None:
    """Raises AssertionError that shows where the database is not what the oracle says."""
    told = await difference(dsn, oracle)
    if told:
        raise AssertionError(f"database (+) and oracle (-) differ\n{told}")


async def difference(dsn: str, oracle: Oracle) -> str:
    """Where the database is not what the oracle says; empty when they are equal."""
    found = await contents(dsn)
    source = found["ix.sources"][0]["source"]
    expected = {f"ix.{name}": rows for name, rows in tables(oracle).items()}
    expected |= {f"appview.{name}": rows for name, rows in views(oracle, source).items()}
    told = [unlike(name, rows, found[name]) for name, rows in expected.items()]
    unread = {n for n in found if n.startswith("appview.")} - set(expected)
    assert not unread, f"views that the oracle does not know: {unread}"
    return "\n".join(filter(None, told))


async def contents(dsn: str) -> dict[str, list[Row]]:
    """Every table that the stream fills and every view, as rows with names in place of ids."""
    connection = await asyncpg.connect(dsn, server_settings={"timezone": "UTC", "jit": "off"})
    await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            return await _contents(connection)
    finally:
        await connection.close()


async def _contents(connection: Any) -> dict[str, list[Row]]:
    dids = dict(await connection.fetch("select id, did from ix.actors"))
    nsids = dict(await connection.fetch("select id, nsid from ix.collections"))
    statements = {f"ix.{name}": f"select * from ix.{name}" for name in (*RECORD_TABLES, *COUNTS, "repos")}
    statements |= {"ix.quarantine": QUARANTINE, "ix.statuses": STATUSES, "ix.cursors": CURSORS}
    statements |= {"ix.gaps": "select source, kind, from_seq, to_seq from ix.gaps"}
    statements |= {"ix.sources": "select source from ix.stream_cursors"}
    made = await connection.fetch("select viewname from pg_views where schemaname = 'appview'")
    statements |= {f"appview.{name}": f"select * from appview.{name}" for (name,) in made}
    found = {}
    for name, statement in statements.items():
        rows = [_named(dict(row), dids, nsids) for row in await connection.fetch(statement)]
        apart = APART.get(name.partition(".")[2], set())
        found[name] = [{column: row[column] for column in row if column not in apart} for row in rows]
    for name in COUNTS:
        found[f"ix.{name}"] = [row for row in found[f"ix.{name}"] if any(_counted(row))]
    return found


def _named(row: Row, dids: dict[int, str], nsids: dict[int, str]) -> Row:
    for column, value in list(row.items()):
        if column.endswith("actor_id") and value is not None:
            row[column] = dids[value]
        elif column.endswith("coll") and value is not None:
            row[column] = nsids[value]
    if "did_actor_id" in row:
        row["did"] = row.pop("did_actor_id")
    return row


def _counted(row: Row) -> list[int]:
    """A row of zeros equals no row (records §4)."""
    return [value for value in row.values() if isinstance(value, int)]


def unlike(name: str, expected: list[Row], found: list[Row]) -> str:
    """The rows that only one side has, as text."""
    want, have = Counter(map(_text, expected)), Counter(map(_text, found))
    missing, surplus = list((want - have).elements()), list((have - want).elements())
    if not missing and not surplus:
        return ""
    lines = [f"{name}: {len(missing)} rows missing, {len(surplus)} too many"]
    lines += [f"  - {row}" for row in sorted(missing)[:SHOWN]]
    lines += [f"  + {row}" for row in sorted(surplus)[:SHOWN]]
    return "\n".join(lines)


def _text(row: Row) -> str:
    return json.dumps(row, sort_keys=True, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
