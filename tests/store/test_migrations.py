from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest

from firehose_indexer.errors import SchemaError
from firehose_indexer.store.migrations import migrate, status
from firehose_indexer.store.sqlfiles import read_folder, sql_root


class Tree:
    """A folder of SQL files to change and migrate again."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "migrations").mkdir()
        (root / "views").mkdir()

    def migration(self, name: str, text: str) -> None:
        (self.root / "migrations" / f"{name}.sql").write_text(text)

    def view(self, name: str, text: str) -> None:
        (self.root / "views" / f"{name}.sql").write_text(text)


@pytest.fixture
def sql(tmp_path: Path) -> Tree:
    tree = Tree(tmp_path)
    tree.migration("0001_first", "CREATE TABLE ix.first (id integer)")
    tree.migration(
        "0002_second", "ALTER TABLE ix.first ADD COLUMN name text; CREATE TABLE ix.second (id integer)"
    )
    tree.view("10_names", "CREATE VIEW appview.names AS SELECT name FROM ix.first")
    return tree


async def fetch(dsn: str, query: str) -> list[tuple[object, ...]]:
    connection = await asyncpg.connect(dsn)
    try:
        return [tuple(row) for row in await connection.fetch(query)]
    finally:
        await connection.close()


async def test_applies_every_file_once_in_order_and_writes_the_ledger(empty_database: str, sql: Tree) -> None:
    first = await migrate(empty_database, root=sql.root)
    assert first.applied == ("0001_first", "0002_second")
    again = await migrate(empty_database, root=sql.root)
    assert again.applied == ()
    ledger = await fetch(empty_database, "SELECT version, name FROM ix.schema_migrations ORDER BY version")
    assert ledger == [(-1, "views"), (1, "0001_first"), (2, "0002_second")]
    assert await fetch(empty_database, "SELECT * FROM appview.names") == []


async def test_a_new_file_is_pending_until_applied(empty_database: str, sql: Tree) -> None:
    before = await status(empty_database, root=sql.root)
    assert (before.applied, before.pending, before.current) == ((), ("0001_first", "0002_second"), False)
    await migrate(empty_database, root=sql.root)
    assert (await status(empty_database, root=sql.root)).current
    sql.migration("0003_third", "CREATE TABLE ix.third (id integer)")
    assert (await status(empty_database, root=sql.root)).pending == ("0003_third",)
    assert (await migrate(empty_database, root=sql.root)).applied == ("0003_third",)


async def test_a_failing_file_leaves_nothing_of_itself_and_is_named(empty_database: str, sql: Tree) -> None:
    sql.migration("0003_broken", "CREATE TABLE ix.half (id integer); SELECT 1/0")
    with pytest.raises(SchemaError, match="0003_broken failed: division by zero"):
        await migrate(empty_database, root=sql.root)
    assert await fetch(empty_database, "SELECT to_regclass('ix.half')") == [(None,)]
    sql.migration("0003_broken", "CREATE TABLE ix.half (id integer)")
    assert (await migrate(empty_database, root=sql.root)).applied == ("0003_broken",)


async def test_a_changed_file_is_refused(empty_database: str, sql: Tree) -> None:
    await migrate(empty_database, root=sql.root)
    sql.migration("0001_first", "CREATE TABLE ix.first (id bigint)")
    with pytest.raises(SchemaError, match="0001_first.sql was changed"):
        await migrate(empty_database, root=sql.root)
    with pytest.raises(SchemaError, match="0001_first.sql was changed"):
        await status(empty_database, root=sql.root)


async def test_a_database_newer_than_the_code_is_refused(empty_database: str, sql: Tree) -> None:
    await migrate(empty_database, root=sql.root)
    (sql.root / "migrations" / "0002_second.sql").unlink()
    with pytest.raises(SchemaError, match="at schema 2, this version knows 1") as refusal:
        await migrate(empty_database, root=sql.root)
    assert refusal.value.exit_code == 4
    assert "upgrade" in refusal.value.hint


async def test_views_are_rebuilt_when_their_text_changes_and_only_then(
    empty_database: str, sql: Tree
) -> None:
    oid = "SELECT 'appview.names'::regclass::oid"
    await migrate(empty_database, root=sql.root)
    first = await fetch(empty_database, oid)
    await migrate(empty_database, root=sql.root)
    assert await fetch(empty_database, oid) == first
    sql.view("10_names", "CREATE VIEW appview.names AS SELECT upper(name) AS upper_name FROM ix.first")
    assert not (await status(empty_database, root=sql.root)).views_current
    await migrate(empty_database, root=sql.root)
    assert await fetch(empty_database, "SELECT upper_name FROM appview.names") == []


async def test_generated_statements_follow_the_views_and_count_as_code(
    empty_database: str, sql: Tree
) -> None:
    after = ["CREATE VIEW appview.loud AS SELECT name AS n FROM appview.names"]
    await migrate(empty_database, after=after, root=sql.root)
    assert await fetch(empty_database, "SELECT n FROM appview.loud") == []
    assert (await status(empty_database, after=after, root=sql.root)).views_current
    assert not (await status(empty_database, root=sql.root)).views_current


async def test_a_broken_view_leaves_the_old_ones(empty_database: str, sql: Tree) -> None:
    await migrate(empty_database, root=sql.root)
    sql.view("20_broken", "CREATE VIEW appview.broken AS SELECT nothing FROM ix.first")
    with pytest.raises(SchemaError, match="20_broken"):
        await migrate(empty_database, root=sql.root)
    assert await fetch(empty_database, "SELECT * FROM appview.names") == []


async def test_a_file_without_transaction_may_build_indexes_concurrently(
    empty_database: str, sql: Tree
) -> None:
    sql.migration(
        "0003_index",
        "-- no transaction\n-- by name; and by id\nCREATE INDEX CONCURRENTLY IF NOT EXISTS f_name_idx ON ix.first (name);\n"
        "CREATE INDEX CONCURRENTLY IF NOT EXISTS f_id_idx ON ix.first (id);\n-- done\n",
    )
    await migrate(empty_database, root=sql.root)
    valid = "SELECT count(*) FROM pg_index WHERE indisvalid AND indrelid = 'ix.first'::regclass"
    assert await fetch(empty_database, valid) == [(2,)]


async def test_several_runners_at_once_apply_each_file_once(empty_database: str, sql: Tree) -> None:
    sql.migration("0003_slow", "SELECT pg_sleep(0.2); CREATE TABLE ix.slow (id integer)")
    runs = await asyncio.gather(*(migrate(empty_database, root=sql.root) for _ in range(4)))
    assert sorted(len(run.applied) for run in runs) == [0, 0, 0, 3]


async def test_misnamed_and_twice_numbered_files_are_refused(empty_database: str, sql: Tree) -> None:
    sql.migration("0002_other", "SELECT 1")
    with pytest.raises(SchemaError, match="two migrations are numbered 0002"):
        await migrate(empty_database, root=sql.root)
    (sql.root / "migrations" / "0002_other.sql").unlink()
    sql.migration("3_bad", "SELECT 1")
    with pytest.raises(SchemaError, match="is not named NNNN_name.sql"):
        await migrate(empty_database, root=sql.root)


async def test_missing_files_are_an_incomplete_installation(empty_database: str, tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="there are no migrations"):
        await migrate(empty_database, root=tmp_path)


async def test_our_own_files_apply_and_are_current(database: str) -> None:
    assert read_folder(sql_root() / "migrations")[0].name == "0001_writer_lock"
    assert not (await status(database)).pending


async def test_a_user_without_rights_is_told_what_to_grant(empty_database: str, sql: Tree) -> None:
    from tests.database import as_powerless_user

    async with as_powerless_user(empty_database) as dsn:
        with pytest.raises(Exception, match="may not make a schema") as refusal:
            await migrate(dsn, root=sql.root)
    assert refusal.value.exit_code == 3
    assert "GRANT CREATE" in refusal.value.hint
