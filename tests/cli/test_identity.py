from __future__ import annotations

import asyncio
import json

import pytest

from firehose_indexer import door
from firehose_indexer.cli.main import main
from tests.identity.rig import Rig


@pytest.fixture
async def rig(monkeypatch):
    rig = Rig()
    monkeypatch.setattr(door, "names", lambda _: rig.names)
    async with rig.directory:
        yield rig


async def resolve(rig: Rig, subject: str, *flags: str) -> int:
    devnet = ["--plc-url", rig.directory.url, "--allow-private-hosts", "--resolver-retries", "0"]
    return await asyncio.to_thread(main, ["resolve", subject, *devnet, *flags])


async def test_identity_pds_key_and_steps_are_data_on_stdout(rig, capsys):
    did = rig.account(1, "alice.sim.test")
    rig.names.txt["alice.sim.test"] = [b"did=" + did.encode()]
    assert await resolve(rig, "@alice.sim.test", "--fresh") == 0
    captured = capsys.readouterr()
    lines = dict(line.split(maxsplit=1) for line in captured.out.splitlines())
    assert list(lines)[:4] == ["did", "handle", "pds", "key"]
    assert set(lines) > {"dns", "well-known", "plc"}
    assert (lines["did"], lines["handle"]) == (did, "alice.sim.test (valid)")
    assert lines["dns"].startswith(f"TXT _atproto.alice.sim.test → {did}, ")
    assert captured.err == ""


async def test_who_does_not_resolve_exits_1_and_what_is_known_is_told_all_the_same(rig, capsys):
    did = rig.account(1, "other.sim.test")
    rig.names.txt["alice.sim.test"] = [b"did=" + did.encode()]
    assert await resolve(rig, "alice.sim.test", "--json") == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["did"] == did
    assert captured.err.startswith("error: alice.sim.test leads to ")


async def test_a_silent_directory_hints_at_doctor(capsys):
    rig = Rig()
    rig.directory.port = 1
    assert await resolve(rig, rig.account(1)) == 1
    assert "Try: firehose-indexer doctor" in capsys.readouterr().err


@pytest.mark.parametrize("subject", ["nonsense", "did:", "a..b", "https://a.example.com"])
def test_what_is_neither_did_nor_handle_is_a_usage_error(subject, capsys):
    assert main(["resolve", subject]) == 2
    assert "neither a DID nor a handle" in capsys.readouterr().err


def test_a_file_that_is_not_there_is_a_usage_error(capsys):
    assert main(["plc-import", "gone.jsonl"]) == 2
    assert "no file gone.jsonl" in capsys.readouterr().err
