from __future__ import annotations

import asyncio
import gzip
import io
import json
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest
import zstandard

from firehose_indexer.errors import ConfigError, IndexerError, WriterLocked
from firehose_indexer.identity.operations import parse_operation
from firehose_indexer.importing import import_plc
from firehose_indexer.log import Log
from firehose_indexer.ops.console import Console
from firehose_indexer.ops.stage import Stage
from firehose_indexer.shutdown import Shutdown
from firehose_indexer.sim.host import failing, slow
from firehose_indexer.sim.plc import Directory, operations_of
from firehose_indexer.sim.world import World
from firehose_indexer.store.identities import Identities
from firehose_indexer.store.plc_import import PlcImport
from tests.identity.test_bulk import EXPORT
from tests.rig import indexer, program, settings_for


@pytest.fixture
def world() -> World:
    world = World(1, 30)
    world.take(1500)
    return world


@pytest.fixture
async def pool(database):
    async with asyncpg.create_pool(database, min_size=1, max_size=2) as pool:
        yield pool


class Run:
    """One import and what it said."""

    def __init__(self, dsn: str, file: Path | None = None, **changed: object) -> None:
        self.settings = settings_for(dsn, allow_private_hosts=True, **changed)
        self.file = file
        self.said = io.StringIO()
        self.shutdown = Shutdown(60, leave=lambda _: None)

    async def __call__(self) -> str:
        stage = Stage(Console(self.said), Log("ERROR", "json", stream=io.StringIO()), self.shutdown)
        await import_plc(self.settings, self.file, stage)
        return self.said.getvalue().strip()


def exported() -> set[str]:
    """The accounts of the real export."""
    lines = [json.loads(text) for text in EXPORT.read_bytes().splitlines()]
    return {one["did"] for one in lines if not one["nullified"]}


async def test_the_directory_becomes_identities(world, database, pool):
    async with Directory.of_world(world) as directory:
        said = await Run(database, plc_url=directory.url)()
    assert said == f"imported {len(world.accounts)} accounts from {len(world.accounts)} operations"
    found = {one.did: one.identity for one in await Identities(pool).load(world.accounts)}
    assert {did: identity.key for did, identity in found.items()} == {
        did: account.key.public_key for did, account in world.accounts.items()
    }


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
async def test_a_file_becomes_identities(suffix, database, pool, tmp_path):
    pack = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}[suffix]
    file = tmp_path / f"export.jsonl{suffix}"
    file.write_bytes(pack(EXPORT.read_bytes()))
    await Run(database, file)()
    assert {one.did for one in await Identities(pool).load(exported())} == exported()


async def test_what_an_earlier_import_staged_is_not_asked_for_again(world, database):
    first = [parse_operation(json.dumps(one)) for one in operations_of(world)][:20]
    async with asyncpg.create_pool(database, min_size=1, max_size=2) as pool:
        await PlcImport(pool).stage(first, first[-1].created_at)
    async with Directory.of_world(world) as directory:
        said = await Run(database, plc_url=directory.url)()
    count = len(world.accounts)
    # The last one staged is asked for again: another may share its instant.
    assert said == f"imported {count} accounts from {count + 1} operations"


async def test_a_stopped_import_keeps_what_it_has_and_says_how_to_go_on(world, database):
    first = [parse_operation(json.dumps(one)) for one in operations_of(world)][:20]
    async with (
        asyncpg.create_pool(database, min_size=1, max_size=2) as pool,
        Directory.of_world(world) as directory,
    ):
        await PlcImport(pool).stage(first, first[-1].created_at)
        directory.trouble("/export", slow(30))
        run = Run(database, plc_url=directory.url)
        running = asyncio.ensure_future(run())
        while not directory.requests:
            await asyncio.sleep(0.01)
        run.shutdown.request("test")
        assert "stopped with 20 operations" in await running
        assert (await PlcImport(pool).begun()).operations == 20


async def test_a_newer_finding_stays(world, database, pool):
    did = next(iter(world.accounts))
    async with Directory.of_world(world) as directory:
        await Run(database, plc_url=directory.url)()
        now = datetime.now(UTC)
        await pool.execute("update ix.identities set pds = 'https://moved.example.com', fetched_at = $1", now)
        await Run(database, plc_url=directory.url)()
    assert (await Identities(pool).load([did]))[0].identity.pds == "https://moved.example.com"


async def test_it_is_refused_while_an_indexer_writes(database):
    async with indexer(database):
        with pytest.raises(WriterLocked):
            await Run(database, EXPORT)()


async def test_a_file_that_cannot_be_inflated_is_told(database, tmp_path):
    file = tmp_path / "export.jsonl.gz"
    file.write_bytes(gzip.compress(EXPORT.read_bytes())[:-100])
    with pytest.raises(ExceptionGroup) as caught:
        await Run(database, file)()
    (error,) = caught.value.exceptions
    assert isinstance(error, ConfigError)
    assert str(file) in str(error)


async def test_a_directory_that_refuses_ends_the_import_with_what_to_do(database):
    async with Directory({}.get) as directory:
        directory.trouble("/export", failing(403))
        with pytest.raises(ExceptionGroup) as caught:
            await Run(database, plc_url=directory.url)()
    (error,) = caught.value.exceptions
    assert isinstance(error, IndexerError)
    assert "HTTP 403" in str(error)
    assert "goes on" in error.hint


async def test_a_directory_on_a_private_address_is_refused_before_anything_begins():
    run = Run("postgresql://u@127.0.0.1:1/none", plc_url="http://127.0.0.1:1")
    run.settings = settings_for("postgresql://u@127.0.0.1:1/none", plc_url="http://127.0.0.1:1")
    with pytest.raises(ConfigError, match="PLC_URL"):
        await run()


async def test_the_verb_imports_into_an_empty_database(empty_database):
    arguments = ("-m", "firehose_indexer", "plc-import", str(EXPORT))
    async with program(empty_database, "ws://127.0.0.1:1", *arguments) as process, asyncio.timeout(60):
        assert await process.wait() == 0
    async with asyncpg.create_pool(empty_database, min_size=1, max_size=1) as pool:
        assert await pool.fetchval("select count(*) from ix.identities") == len(exported())
