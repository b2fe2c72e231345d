"""What a server is like, asked without changing it: for people who look before they run."""

from __future__ import annotations

from dataclasses import dataclass

from firehose_indexer.store.pool import connect

_FACTS = """
    SELECT current_setting('server_version') AS version,
           current_setting('max_connections')::int AS max_connections,
           (SELECT setting::bigint FROM pg_settings WHERE name = 'max_wal_size') AS max_wal_mb,
           has_database_privilege(current_database(), 'CREATE') AS may_create
"""


@dataclass(frozen=True, slots=True)
class Server:
    """``may_create`` is whether our user may make a schema in this database."""

    version: str
    max_connections: int
    max_wal_mb: int
    may_create: bool


async def inspect(dsn: str) -> Server:
    """Raises DatabaseError when the server cannot be reached or is too old."""
    connection = await connect(dsn)
    try:
        row = await connection.fetchrow(_FACTS)
        assert row is not None
        return Server(**dict(row))
    finally:
        await connection.close(timeout=10)
