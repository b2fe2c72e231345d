from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from firehose_indexer.config import Settings, load
from firehose_indexer.errors import DatabaseError
from firehose_indexer.kinds import Bind
from firehose_indexer.ops import doctor
from firehose_indexer.ops.doctor import BAD, CONSIDER, GOOD, Finding, as_json, checks, examine


def severities(found: list[Finding]) -> set[str]:
    return {one.severity for one in found}


async def test_a_check_that_fails_is_a_finding_with_its_remedy():
    async def broken(_: Settings) -> list[Finding]:
        raise DatabaseError("cannot reach postgresql://u:sesame@h/d\n  refused", hint="start it")

    (found,) = await examine(Settings(), checks=[("database", broken)])
    assert (found.category, found.severity, found.remedy) == ("database", BAD, "start it")
    assert "sesame" not in found.message
    assert "\n" not in found.message


async def test_a_check_that_hangs_is_a_finding(monkeypatch):
    async def hanging(_: Settings) -> list[Finding]:
        await asyncio.sleep(600)
        return []

    monkeypatch.setattr(doctor, "_CHECK_SECONDS", 0.01)
    (found,) = await examine(Settings(), checks=[("relay", hanging)])
    assert found.severity == BAD


def test_offline_leaves_the_relay_alone_and_a_category_stands_alone():
    assert [name for name, _ in checks(offline=False)] == list(doctor.CATEGORIES)
    assert "relay" not in [name for name, _ in checks(offline=True)]
    assert [name for name, _ in checks(offline=True, only="http")] == ["http"]


async def test_a_taken_port_is_something_to_consider():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        bind = Bind("127.0.0.1", taken.getsockname()[1])
        assert severities(await doctor.http(Settings(http_bind=bind))) == {CONSIDER}
    assert severities(await doctor.http(Settings(http_bind=Bind("127.0.0.1", 0)))) == {GOOD}


async def test_a_relay_url_that_cannot_be_read_is_bad():
    settings = load(environ={"RELAY_URL": "gopher://x"})
    found = await examine(settings, checks=[("config", doctor.configuration)])
    assert severities(found) == {BAD}


async def test_running_without_proof_is_something_to_consider():
    assert CONSIDER in severities(await doctor.configuration(Settings()))


async def test_names_without_effect_are_something_to_consider():
    settings = load(environ={"WORKER_ID": "3"})
    assert any("WORKER_ID" in one.message for one in await doctor.configuration(settings))


async def test_memory_beyond_the_machine_is_something_to_consider():
    found = await doctor.environment(Settings(memory_mb=1_000_000))
    assert any("MEMORY_MB" in one.message for one in found)


async def test_the_embedded_database_is_looked_at_without_being_started(tmp_path: Path):
    found = await doctor.database(Settings(data_dir=tmp_path / "data"))
    assert severities(found) == {GOOD}
    assert list(tmp_path.iterdir()) == []


async def test_a_migrated_database_is_good(database: str):
    found = await doctor.database(Settings(database_url=database))
    assert BAD not in severities(found)
    assert any(one.message.endswith("migrations applied") for one in found)


async def test_pending_migrations_matter_when_they_will_not_be_applied(empty_database: str):
    assert BAD not in severities(await doctor.database(Settings(database_url=empty_database)))
    found = await doctor.database(Settings(database_url=empty_database, migrate=False))
    assert any(one.severity == BAD and one.remedy == "firehose-indexer migrate" for one in found)


async def test_a_pool_that_the_server_cannot_hold_is_bad(database: str):
    found = await doctor.database(Settings(database_url=database, db_pool_size=1000))
    assert any(one.severity == BAD and "DB_POOL_SIZE" in one.message for one in found)


@pytest.mark.parametrize("remedy", ["", "do this"])
def test_findings_are_json_by_their_names(remedy):
    assert as_json([Finding("http", GOOD, "free", remedy)]) == [
        {"category": "http", "severity": "good", "message": "free", "remedy": remedy}
    ]
