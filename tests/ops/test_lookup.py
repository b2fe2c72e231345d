from __future__ import annotations

from functools import partial

import pytest

from firehose_indexer import door
from firehose_indexer.config import Settings
from firehose_indexer.identity.cache import HandleState
from firehose_indexer.identity.network import Manners
from firehose_indexer.ops.lookup import Lookup, as_json, look_up
from firehose_indexer.sim.host import failing
from firehose_indexer.sim.pds import Pds
from firehose_indexer.sim.people import did as did_of
from firehose_indexer.sim.world import World
from tests.identity.rig import Rig


@pytest.fixture
async def rig(monkeypatch):
    """A directory, a DNS, and an account ``www.sim.test`` that only its web server knows."""
    rig = Rig()
    monkeypatch.setattr(door, "names", lambda _: rig.names)
    world = World(1, 5)
    world.take(100)
    rig.hosted = next(iter(world.accounts.values()))
    rig.documents[rig.hosted.did] = world.document(rig.hosted.did)
    async with rig.directory, Pds(world) as pds:
        well_known = f"http://{{handle}}:{pds.port}/.well-known/atproto-did"
        monkeypatch.setattr(door, "Manners", partial(Manners, well_known=well_known))
        yield rig


async def asked(rig: Rig, subject: str) -> Lookup:
    settings = Settings(plc_url=rig.directory.url, allow_private_hosts=True, resolver_retries=0)
    return await look_up(settings, subject, fresh=True)


def told(lookup: Lookup) -> dict[str, str]:
    return {step.name: step.outcome for step in lookup.steps}


async def test_a_did_is_told_with_the_way_back_from_its_handle(rig):
    did = rig.account(1, "alice.sim.test")
    rig.names.txt["alice.sim.test"] = [b"did=" + did.encode()]
    found = await asked(rig, did)
    assert (found.problem, found.handle_state) == ("", HandleState.valid)
    assert found.identity.key.multikey() == rig.documents[did]["verificationMethod"][0]["publicKeyMultibase"]
    assert told(found) == {"plc": "ok", "dns": "ok", "well-known": "not_found"}


async def test_a_handle_that_only_its_web_server_knows_resolves(rig):
    found = await asked(rig, rig.hosted.handle.upper())
    assert (found.problem, found.did, found.handle_state) == ("", rig.hosted.did, HandleState.valid)
    assert told(found) == {"dns": "not_found", "well-known": "ok", "plc": "ok"}


async def test_both_say_what_they_know_when_they_disagree(rig):
    other = rig.account(1, rig.hosted.handle)
    rig.names.txt[rig.hosted.handle] = [b"did=" + other.encode()]
    found = await asked(rig, rig.hosted.handle)
    assert found.did == other
    assert {step.name: step.said for step in found.steps[:2]} == {"dns": other, "well-known": rig.hosted.did}


async def test_a_handle_that_its_account_does_not_claim_does_not_resolve(rig):
    did = rig.account(1, "other.sim.test")
    rig.names.txt["alice.sim.test"] = [b"did=" + did.encode()]
    found = await asked(rig, "alice.sim.test")
    assert found.problem == f"alice.sim.test leads to {did}, whose document claims other.sim.test"
    assert found.identity is not None


async def test_a_did_whose_handle_leads_elsewhere_resolves_with_an_invalid_handle(rig):
    did = rig.account(1, rig.hosted.handle)
    found = await asked(rig, did)
    assert (found.problem, found.handle_state) == ("", HandleState.invalid)


@pytest.mark.parametrize(
    ("subject", "problem"),
    [
        ("nobody.sim.test", "dns: not found (no TXT record); well-known: not found (HTTP 404)"),
        ("alice.onion", "alice.onion does not resolve: not found (not a handle that can be looked up)"),
        (did_of(9, 9), "plc: not found (HTTP 404)"),
        ("did:key:zQ3shZ", "unsupported method"),
        ("did:plc:short", "bad syntax"),
    ],
)
async def test_what_does_not_resolve_says_why(rig, subject, problem):
    found = await asked(rig, subject)
    assert problem in found.problem
    assert not found.unanswered


async def test_nobody_answering_is_told_apart_from_a_no(rig):
    rig.directory.trouble("/", failing(503))
    found = await asked(rig, rig.account(1))
    assert "plc: failed (HTTP 503)" in found.problem
    assert found.unanswered


async def test_everything_stands_in_the_json(rig):
    did = rig.account(1)
    shown = as_json(await asked(rig, did))
    assert shown["did"] == shown["subject"] == did
    assert shown["key"].startswith("did:key:z")
    assert shown["handle"] is shown["problem"] is None
    assert [step["asked"] for step in shown["steps"]] == [f"{rig.directory.url}/{did}"]
