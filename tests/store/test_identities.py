from __future__ import annotations

import json
from datetime import UTC, datetime

import asyncpg
import pytest

from firehose_indexer.errors import Reason
from firehose_indexer.identity.cache import Finding, HandleState
from firehose_indexer.identity.document import Identity
from firehose_indexer.identity.operations import parse_operation
from firehose_indexer.identity.outcome import Outcome
from firehose_indexer.repo.keys import Curve, PrivateKey
from firehose_indexer.store.identities import Identities, expire
from firehose_indexer.store.plc_import import PlcImport
from tests.identity.test_bulk import line

NOW = datetime.now(UTC).timestamp()
KEY = PrivateKey.from_seed(b"a").public_key
LABEL = PrivateKey.from_seed(b"b", Curve.P256).public_key
ALICE, BOB = "did:plc:" + "a" * 24, "did:plc:" + "b" * 24


def finding(did=ALICE, handle="x.example.com", state=HandleState.valid, at=NOW, **changes) -> Finding:
    identity = Identity(did, KEY, None, "https://pds.example.com", handle)
    whole = Finding(did, Outcome.ok, identity, at, at + 43_200, at + 86_400, 0, 0, state, at)
    return whole._replace(**changes)


@pytest.fixture
async def pool(database):
    async with asyncpg.create_pool(database, min_size=1, max_size=2) as pool:
        yield pool


async def handles(pool) -> dict[str, str | None]:
    return dict(await pool.fetch("select did, handle from ix.actors"))


async def test_what_is_saved_is_what_is_loaded(pool):
    shelf = Identities(pool)
    labeler = finding()._replace(generation=3)
    labeler = labeler._replace(
        identity=labeler.identity._replace(labeler="https://mod.x.com", label_key=LABEL)
    )
    gone = Finding(BOB, Outcome.not_found, None, NOW, NOW + 60, NOW + 60, 2, 0, HandleState.invalid, NOW)
    keyless = finding("did:web:a.com", None, HandleState.unknown, handle_checked_at=None)
    keyless = keyless._replace(
        identity=keyless.identity._replace(key=None, key_problem=Reason.key_unsupported)
    )
    await shelf.save([labeler, gone, keyless])
    found = {one.did: one for one in await shelf.load([ALICE, BOB, "did:web:a.com", "did:web:unknown.com"])}
    assert set(found) == {ALICE, BOB, "did:web:a.com"}
    for one in (labeler, gone, keyless):
        assert found[one.did]._replace(
            soft_at=0, fetched_at=0, expires_at=0, handle_checked_at=0
        ) == one._replace(soft_at=0, fetched_at=0, expires_at=0, handle_checked_at=0)
        assert found[one.did].expires_at == pytest.approx(one.expires_at, abs=1e-3)


async def test_an_older_finding_replaces_nothing(pool):
    shelf = Identities(pool)
    await shelf.save([finding()])
    await shelf.save([finding(handle="old.example.com", at=NOW - 10)])
    assert (await shelf.load([ALICE]))[0].identity.handle == "x.example.com"
    assert await handles(pool) == {ALICE: "x.example.com"}


async def test_a_proven_handle_is_taken_from_its_previous_holder(pool):
    shelf = Identities(pool)
    await shelf.save([finding()])
    await shelf.save([finding(BOB, at=NOW + 1)])
    assert await handles(pool) == {ALICE: None, BOB: "x.example.com"}
    assert (await shelf.load([ALICE]))[0].handle_state is HandleState.unknown


async def test_two_accounts_may_swap_their_handles_at_once(pool):
    shelf = Identities(pool)
    await shelf.save([finding(), finding(BOB, "y.example.com")])
    await shelf.save([finding(ALICE, "y.example.com", at=NOW + 1), finding(BOB, "x.example.com", at=NOW + 1)])
    assert await handles(pool) == {ALICE: "y.example.com", BOB: "x.example.com"}


async def test_of_two_claims_to_one_handle_the_later_proof_stands(pool):
    await Identities(pool).save([finding(at=NOW + 1), finding(BOB)])
    assert await handles(pool) == {ALICE: "x.example.com", BOB: None}


async def test_a_handle_claimed_by_a_stranger_shows_handle_invalid(pool):
    shelf = Identities(pool)
    await shelf.save([finding(), finding(BOB, state=HandleState.invalid)])
    await pool.execute("insert into ix.repos (actor_id) select id from ix.actors")
    shown = dict(await pool.fetch("select did, handle from appview.users"))
    assert shown == {ALICE: "x.example.com", BOB: "handle.invalid"}
    await shelf.save([finding(state=HandleState.invalid, at=NOW + 1)])
    assert dict(await pool.fetch("select did, handle from appview.users"))[ALICE] == "handle.invalid"


@pytest.mark.parametrize(("hours", "kept"), [(71, "x.example.com"), (73, None)])
async def test_while_nobody_answers_the_last_handle_stays_for_72_hours(pool, hours, kept):
    shelf = Identities(pool)
    await shelf.save([finding(at=NOW - hours * 3600)])
    await shelf.save([finding(state=HandleState.unknown)])
    assert await handles(pool) == {ALICE: kept}


async def test_an_identity_event_expires_what_is_kept_in_its_own_transaction(pool):
    shelf = Identities(pool)
    await shelf.save([finding()])
    async with pool.acquire() as connection, connection.transaction():
        await expire(connection, [await connection.fetchval("select id from ix.actors")])
    (found,) = await shelf.load([ALICE])
    assert (found.expires_at, found.generation, found.handle_checked_at) == (0, 1, None)


async def test_an_import_keeps_the_last_operation_and_never_replaces_a_newer_finding(pool):
    later = {"type": "plc_operation", "alsoKnownAs": ["at://later.example.com"]}
    lines = [
        line(1, at=1),
        line(1, later, at=5),
        line(1, at=3),
        line(2, {"type": "plc_tombstone"}, at=4),
        line(3),
    ]
    operations = [parse_operation(json.dumps(one)) for one in lines]
    one, two, three = (operations[at].did for at in (0, 3, 4))
    shelf, staging = Identities(pool), PlcImport(pool)
    until = max(operation.created_at for operation in operations)
    await shelf.save([finding(three, "kept.example.com", at=until.timestamp() + 1)])
    await staging.stage(operations[:2], operations[1].created_at)
    assert await staging.begun() == (2, operations[1].created_at)
    await staging.stage(operations[2:], until)
    assert await PlcImport(pool).begun() == (5, until)
    assert await staging.merge() == 3
    found = {each.did: each for each in await shelf.load([one, two, three])}
    assert found[one].identity.handle == "later.example.com"
    assert found[one].identity.key_problem is Reason.key_missing
    assert found[two].outcome is Outcome.not_found
    assert found[three].identity.handle == "kept.example.com"
    assert found[one].expires_at > NOW + 40_000
    assert await staging.begun() == (0, None)
