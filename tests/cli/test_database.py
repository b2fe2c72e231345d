from __future__ import annotations

import asyncio
import json
import stat

import pytest

from firehose_indexer.cli.database import without_password
from firehose_indexer.cli.main import main


async def _argv(*arguments: str) -> int:
    """In a thread: a verb runs an event loop of its own."""
    return await asyncio.to_thread(main, list(arguments))


async def test_migrate_brings_the_schema_and_a_second_time_does_nothing(empty_database, capsys):
    assert await _argv("migrate", "--database-url", empty_database, "--json") == 0
    done = json.loads(capsys.readouterr().out)
    assert done["applied"]
    assert done["pending"] == []
    assert await _argv("migrate", "--database-url", empty_database, "--json") == 0
    assert json.loads(capsys.readouterr().out)["applied"] == []


async def test_status_tells_and_changes_nothing(empty_database, capsys):
    for _ in range(2):
        assert await _argv("migrate", "--status", "--database-url", empty_database, "--json") == 0
        found = json.loads(capsys.readouterr().out)
        assert found["applied"] == []
        assert found["pending"]


async def test_status_after_migrate_is_current(empty_database, capsys):
    await _argv("migrate", "--database-url", empty_database)
    capsys.readouterr()
    assert await _argv("migrate", "--status", "--database-url", empty_database, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["pending"], found["views_current"]) == ([], True)


def test_url_is_data_on_stdout(capsys):
    assert main(["db", "url", "--database-url", "postgresql://u:p@h/d"]) == 0
    assert capsys.readouterr().out == "postgresql://u:p@h/d\n"


def test_psql_gets_the_arguments_and_the_password_only_in_its_environment(tmp_path, monkeypatch):
    psql = tmp_path / "psql"
    psql.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/arguments\necho "$PGPASSWORD" > {tmp_path}/password\nexit 7\n'
    )
    psql.chmod(psql.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert main(["db", "psql", "--database-url", "postgresql://u:s%40me@h/d", "--", "-c", "select 1"]) == 7
    assert (tmp_path / "arguments").read_text().splitlines() == ["postgresql://u@h/d", "-c", "select 1"]
    assert (tmp_path / "password").read_text() == "s@me\n"


def test_without_psql_it_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["db", "psql", "--database-url", "postgresql://u@h/d"]) == 2
    assert "psql is not installed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("dsn", "bare", "password"),
    [
        ("postgresql://u:p@h:5/d?x=1", "postgresql://u@h:5/d?x=1", "p"),
        ("postgresql://u@h/d", "postgresql://u@h/d", ""),
        ("postgresql://h/d", "postgresql://h/d", ""),
        ("postgresql://u@/d?host=%2Frun&port=5432", "postgresql://u@/d?host=%2Frun&port=5432", ""),
    ],
)
def test_a_dsn_and_its_password_come_apart(dsn, bare, password):
    assert without_password(dsn) == (bare, password)


def test_the_embedded_server_is_started_and_stopped_again(data_dir, capfd):
    assert main(["db", "psql", "--data-dir", str(data_dir), "--", "-Atc", "select 6 * 7"]) == 0
    assert capfd.readouterr().out.strip() == "42"
    assert not (data_dir / "postgres" / "cluster" / "postmaster.pid").exists()
