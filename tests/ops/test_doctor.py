from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from firehose_indexer.config import Settings, load
from firehose_indexer.errors import DatabaseError
from firehose_indexer.kinds import Bind
from firehose_indexer.names import NoSuchName
from firehose_indexer.ops import doctor
from firehose_indexer.ops.doctor import BAD, CONSIDER, GOOD, Finding, as_json, checks, examine
from firehose_indexer.sim.host import failing
from firehose_indexer.sim.plc import Directory


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


def test_offline_leaves_the_network_alone_and_a_category_stands_alone():
    assert [name for name, _ in checks(offline=False)] == list(doctor.CATEGORIES)
    assert {"relay", "identity"}.isdisjoint(name for name, _ in checks(offline=True))
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


class Dns:
    def __init__(self, answer: Exception | None = None) -> None:
        self.answer = answer

    async def texts(self, name: str) -> list[bytes]:
        if self.answer is not None:
            raise self.answer
        return [b"did=did:plc:abc"]


@pytest.mark.parametrize(
    ("trouble", "dns", "found"),
    [
        (None, Dns(), [GOOD, GOOD]),  # that it knows no such account is an answer
        (failing(503), Dns(), [BAD, GOOD]),
        (None, Dns(TimeoutError()), [GOOD, BAD]),
        (None, Dns(NoSuchName("x")), [GOOD, CONSIDER]),
    ],
)
async def test_directory_and_dns_are_good_when_they_answer(trouble, dns, found, monkeypatch):
    monkeypatch.setattr(doctor, "names", lambda _: dns)
    async with Directory({}.get) as directory:
        if trouble is not None:
            directory.trouble("/", trouble)
        settings = Settings(plc_url=directory.url, allow_private_hosts=True, verify="full")
        assert [one.severity for one in await doctor.identity(settings)] == found
        assert directory.requests == 1


async def test_while_nothing_is_verified_a_silent_directory_is_only_to_consider(monkeypatch):
    monkeypatch.setattr(doctor, "names", lambda _: Dns(OSError("no answer")))
    settings = Settings(plc_url="http://127.0.0.1:1", allow_private_hosts=True)
    assert severities(await doctor.identity(settings)) == {CONSIDER}


async def test_a_directory_that_the_guard_refuses_is_bad():
    found = await examine(Settings(plc_url="http://127.0.0.1:1"), checks=[("identity", doctor.identity)])
    assert severities(found) == {BAD}


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
