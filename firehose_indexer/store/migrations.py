"""The schema, brought forward (never back) to what this version of the code expects.

``sql/migrations/NNNN_name.sql`` are applied once each, in order, each in one transaction unless its
first line is ``-- no transaction``. Then, when their text changed, the parts that are code rather than
data: ``sql/views/*.sql`` and the generated statements the caller passes, after ``DROP SCHEMA appview``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import asyncpg

from firehose_indexer.errors import DatabaseError, SchemaError
from firehose_indexer.store.pool import connect
from firehose_indexer.store.sqlfiles import SqlFile, read_folder, sql_root

NO_TRANSACTION = "-- no transaction"
_LOCK = 0x6669_7265_0001  # one runner at a time per database; the number only has to be ours
_LOCK_SECONDS = 600
_VIEWS = -1  # the ledger's row for views and generated statements

_LEDGER = """
    CREATE SCHEMA IF NOT EXISTS ix;
    CREATE TABLE IF NOT EXISTS ix.schema_migrations (
        version integer PRIMARY KEY,
        name text NOT NULL,
        checksum text NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT now()
    );
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """A numbered file of ``sql/migrations``."""

    version: int
    file: SqlFile

    @classmethod
    def parse(cls, file: SqlFile) -> Migration:
        match = re.fullmatch(r"(\d{4})_[a-z0-9_]+", file.name)
        if match is None:
            raise SchemaError(f"sql/migrations/{file.name}.sql is not named NNNN_name.sql")
        return cls(int(match[1]), file)

    @property
    def in_transaction(self) -> bool:
        return not self.file.text.startswith(NO_TRANSACTION)


@dataclass(frozen=True, slots=True)
class SchemaStatus:
    """What the database has and lacks. ``current`` is what serving requires."""

    applied: tuple[str, ...]
    pending: tuple[str, ...]
    views_current: bool

    @property
    def current(self) -> bool:
        return not self.pending and self.views_current


async def migrate(dsn: str, *, after: Sequence[str] = (), root: Path | None = None) -> SchemaStatus:
    """Bring the schema of ``dsn`` to this version; what was applied just now is in ``applied``.

    ``after`` are statements generated from declarations, run after the views.
    Raises SchemaError: the database is newer than the code, an applied file was changed, a file fails.
    """
    migrations, views = _load(root)
    connection = await connect(dsn)
    try:
        await _lock(connection)
        await _create_ledger(connection)
        ledger = await _ledger(connection)
        pending = _pending(migrations, ledger)
        for migration in pending:
            await _apply(connection, migration)
        if pending or ledger.get(_VIEWS) != _code_checksum(views, after):
            await _apply_code(connection, views, after)
    finally:
        await connection.close(timeout=10)
    return SchemaStatus(tuple(migration.file.name for migration in pending), (), views_current=True)


def newest(root: Path | None = None) -> int:
    """The schema that this version of the code expects: the number of its last migration."""
    return _load(root)[0][-1].version


async def status(dsn: str, *, after: Sequence[str] = (), root: Path | None = None) -> SchemaStatus:
    """Compare the schema of ``dsn`` with this version, changing nothing. Raises SchemaError as ``migrate``."""
    migrations, views = _load(root)
    connection = await connect(dsn)
    try:
        known = await connection.fetchval("SELECT to_regclass('ix.schema_migrations') IS NOT NULL")
        ledger = await _ledger(connection) if known else {}
    finally:
        await connection.close(timeout=10)
    pending = _pending(migrations, ledger)
    return SchemaStatus(
        tuple(migration.file.name for migration in migrations if migration not in pending),
        tuple(migration.file.name for migration in pending),
        views_current=ledger.get(_VIEWS) == _code_checksum(views, after),
    )


def _load(root: Path | None) -> tuple[list[Migration], list[SqlFile]]:
    root = sql_root() if root is None else root
    migrations = [Migration.parse(file) for file in read_folder(root / "migrations")]
    if not migrations:
        raise SchemaError(
            f"there are no migrations in {root / 'migrations'}", hint="the installation is incomplete"
        )
    for earlier, later in pairwise(migrations):
        if earlier.version == later.version:
            raise SchemaError(
                f"two migrations are numbered {later.version:04}: {earlier.file.name}, {later.file.name}"
            )
    return migrations, read_folder(root / "views")


async def _lock(connection: asyncpg.Connection) -> None:
    """Wait for another runner to finish, but not for ever. The lock ends with the connection."""
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK, timeout=_LOCK_SECONDS)
    except TimeoutError as error:
        raise DatabaseError(
            f"another process has been migrating this database for {_LOCK_SECONDS} s"
        ) from error


async def _create_ledger(connection: asyncpg.Connection) -> None:
    try:
        await connection.execute(_LEDGER)
    except asyncpg.InsufficientPrivilegeError as error:
        raise DatabaseError(
            f"the database's user may not make a schema: {error}",
            hint="GRANT CREATE ON DATABASE … TO …, or run the migrations as the database's owner",
        ) from error


async def _ledger(connection: asyncpg.Connection) -> dict[int, str]:
    rows = await connection.fetch("SELECT version, checksum FROM ix.schema_migrations")
    return {row["version"]: row["checksum"] for row in rows}


def _pending(migrations: Sequence[Migration], ledger: dict[int, str]) -> list[Migration]:
    newest_known, newest_applied = migrations[-1].version, max(ledger, default=0)
    if newest_applied > newest_known:
        raise SchemaError(
            f"the database is at schema {newest_applied}, this version knows {newest_known}",
            hint="upgrade firehose-indexer, or point DATABASE_URL at another database",
        )
    for migration in migrations:
        if ledger.get(migration.version, migration.file.checksum) != migration.file.checksum:
            raise SchemaError(
                f"sql/migrations/{migration.file.name}.sql was changed after it was applied to this database",
                hint="restore the file and put the change into a new migration",
            )
    return [migration for migration in migrations if migration.version not in ledger]


async def _apply(connection: asyncpg.Connection, migration: Migration) -> None:
    try:
        if migration.in_transaction:
            async with connection.transaction():
                await connection.execute(migration.file.text, timeout=None)
                await _record(connection, migration.version, migration.file.name, migration.file.checksum)
        else:
            for statement in _statements(migration.file.text):
                await connection.execute(statement, timeout=None)
            await _record(connection, migration.version, migration.file.name, migration.file.checksum)
    except asyncpg.PostgresError as error:
        raise SchemaError(f"migration {migration.file.name} failed: {error}") from error


def _statements(text: str) -> list[str]:
    """The statements of a file without transaction: sent together they would form one.

    Such files hold plain statements only: each ends with a semicolon at the end of a line.
    """
    return [part for part in re.split(r";[ \t]*(?:\n|$)", text) if re.sub(r"--.*", "", part).strip()]


async def _apply_code(connection: asyncpg.Connection, views: Sequence[SqlFile], after: Sequence[str]) -> None:
    async with connection.transaction():
        await connection.execute("DROP SCHEMA IF EXISTS appview CASCADE; CREATE SCHEMA appview")
        for name, text in [
            *((view.name, view.text) for view in views),
            *(("generated", text) for text in after),
        ]:
            try:
                await connection.execute(text)
            except asyncpg.PostgresError as error:
                raise SchemaError(f"sql/views/{name}.sql failed: {error}") from error
        await _record(connection, _VIEWS, "views", _code_checksum(views, after))


def _code_checksum(views: Sequence[SqlFile], after: Sequence[str]) -> str:
    whole = "\0".join([*(f"{view.name}\0{view.text}" for view in views), *after])
    return hashlib.sha256(whole.encode()).hexdigest()


async def _record(connection: asyncpg.Connection, version: int, name: str, checksum: str) -> None:
    await connection.execute(
        "INSERT INTO ix.schema_migrations (version, name, checksum) VALUES ($1, $2, $3)"
        " ON CONFLICT (version) DO UPDATE SET checksum = excluded.checksum, applied_at = now()",
        version,
        name,
        checksum,
    )
