from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from firehose_indexer.identity.cache import HandleState
from firehose_indexer.identity.file import read_identities
from firehose_indexer.identity.gate import Priority
from firehose_indexer.identity.outcome import (
    DidDocument,
    DidFailed,
    DidMethod,
    DidNotFound,
    DidSyntax,
    HandleNotFound,
    Outcome,
    Postponed,
)
from firehose_indexer.sim.host import Host, dead, endless, failing, slow
from firehose_indexer.sim.pds import Pds
from firehose_indexer.sim.people import did as did_of
from firehose_indexer.sim.world import World
from tests.identity.rig import Rig, until
from tests.identity.test_document import DEVNET


@pytest.fixture
async def rig():
    rig = Rig()
    async with rig.directory:
        yield rig


async def test_1000_callers_for_one_did_are_1_request_and_1_look_at_the_shelf(rig):
    did = rig.account(1)
    rig.directory.trouble("/", slow(0.05))
    async with rig.resolver() as resolver:
        found = await asyncio.gather(*(resolver.identity(did) for _ in range(1000)))
    assert len({one.key for one in found}) == 1
    assert rig.directory.requests == 1
    assert rig.shelf.loads == [1]


async def test_all_waiters_get_the_error(rig):
    rig.directory.trouble("/", slow(0.02))
    async with rig.resolver() as resolver:
        ends = await asyncio.gather(
            *(resolver.identity(did_of(1, 9)) for _ in range(50)), return_exceptions=True
        )
    assert {type(end) for end in ends} == {DidNotFound}
    assert rig.directory.requests == 1


async def test_a_cancelled_waiter_does_not_cancel_the_flight(rig):
    did = rig.account(1)
    rig.directory.trouble("/", slow(0.05))
    async with rig.resolver() as resolver:
        first = asyncio.ensure_future(resolver.identity(did))
        second = asyncio.ensure_future(resolver.identity(did))
        await until(lambda: rig.directory.requests == 1)
        first.cancel()
        assert (await second).did == did
    assert rig.directory.requests == 1


async def test_fresh_joins_only_a_flight_begun_after_the_call(rig):
    did = rig.account(1)
    rig.directory.trouble("/", slow(0.05))
    async with rig.resolver() as resolver:
        before = asyncio.ensure_future(resolver.identity(did))
        await until(lambda: rig.directory.requests == 1)
        rig.account(1, key="new")
        fresh = [asyncio.ensure_future(resolver.identity(did, fresh=True)) for _ in range(100)]
        found = await asyncio.gather(*fresh)
        await before
        assert {one.key for one in found} == {resolver.known(did).key}
    assert rig.directory.requests == 2


async def test_malformed_dids_and_1000_404s_leave_every_breaker_closed(rig):
    malformed = ["", "did", "did:", "did:plc:", "did:plc:short", "did:plc:UPPERCASEUPPERCASEUPPERC", "did:web:",
                 "did:web:localhost/path", "did:web:example.com:path", "did:web:1.2.3.4", "did:web:[::1]",
                 "did:web:host.local", "did:web:host.onion", "did:web:example.com%3A443", "did:web:nodots",
                 "did:web:a..b", "did:web:user@example.com", "x" * 3000, "did:plc:" + "1" * 24, "DID:plc:x"]  # fmt: skip
    assert len(malformed) == 20
    async with rig.resolver() as resolver:
        for did in malformed:
            with pytest.raises(DidSyntax):
                await resolver.identity(did)
        with pytest.raises(DidMethod):
            await resolver.identity("did:key:zQ3shZ")
        unknown = [did_of(2, number) for number in range(1000)]
        done = await resolver.prefetch([*unknown, *malformed])
        assert done.failed == {}
        assert {done.refused[did] for did in unknown} == {Outcome.not_found}
        assert {done.refused[did] for did in malformed} == {Outcome.bad_syntax}
        assert resolver.snapshot().breakers_open == {}
    assert rig.directory.requests == 1000


async def test_5_times_503_open_the_breaker_and_exactly_one_probe_goes_out_after_60_seconds(rig):
    dids = [rig.account(number) for number in range(20)]
    rig.directory.trouble("/", failing(503))
    async with rig.resolver(retries=0) as resolver:
        for did in dids[:5]:
            with pytest.raises(DidFailed):
                await resolver.identity(did)
        assert resolver.snapshot().breakers_open == {"plc": 1}
        for did in dids:
            with pytest.raises(DidFailed) as caught:
                await resolver.identity(did)
            assert caught.value.retry_at > rig.clock()
        assert rig.directory.requests == 5
        rig.clock.now += 61
        done = await resolver.prefetch(dids[5:])
        assert len(done.failed) == 15
        assert rig.directory.requests == 6  # the probe, and it was bad: 120 seconds now
        rig.clock.now += 61
        await resolver.prefetch(dids[5:])
        assert rig.directory.requests == 6
        rig.directory.calm()
        rig.clock.now += 60
        assert (await resolver.identity(dids[5])).did == dids[5]
        assert resolver.snapshot().breakers_open == {}
        rig.clock.now += 30
        assert (await resolver.prefetch(dids[5:])).failed == {}
    assert rig.value("breaker_transitions_total", kind="plc", to="open") == 2


async def test_a_did_web_host_that_hangs_does_not_slow_plc(rig):
    dids = [rig.account(number) for number in range(200)]
    async with Host({}) as silent, rig.resolver() as resolver:
        silent.trouble("/", slow(30))
        hanging = f"did:web:localhost%3A{silent.port}"
        waiting = asyncio.ensure_future(resolver.prefetch([hanging]))
        await until(lambda: silent.requests == 1)
        assert await resolver.prefetch(dids) == ({}, {})
        assert not waiting.done()
        waiting.cancel()


async def test_20_did_web_hosts_that_hang_leave_the_reserved_slots_to_plc(rig):
    dids = [rig.account(number) for number in range(200)]
    async with AsyncExitStack() as stack, rig.resolver() as resolver:
        hosts = [await stack.enter_async_context(Host({})) for _ in range(20)]
        for host in hosts:
            host.trouble("/", slow(30))
        hanging = [f"did:web:localhost%3A{host.port}" for host in hosts]
        waiting = asyncio.ensure_future(resolver.prefetch(hanging))
        await until(lambda: sum(host.requests for host in hosts) == 10)
        assert await resolver.prefetch(dids, wait=5) == ({}, {})
        assert (sum(host.requests for host in hosts), resolver.snapshot().waiting) == (10, 10)
        waiting.cancel()


async def test_did_web_hosts_that_refuse_fail_alone(rig):
    dids = [rig.account(number) for number in range(200)]
    dead_ones = [f"did:web:localhost%3A{port}" for port in (1, 2, 3)] + ["did:web:dead.example.com"] * 1
    async with rig.resolver() as resolver:
        done = await resolver.prefetch(dead_ones + dids)
        assert set(done.failed) == set(dead_ones)
        assert all(resolver.known(did) for did in dids)
        assert resolver.snapshot().breakers_open == {}  # four tries each are not five failures
        assert rig.directory.requests == 200


async def test_retries_are_for_what_may_go_better(rig):
    did = rig.account(1)
    rig.directory.trouble("/", failing(502), times=2)
    rig.directory.trouble("/", dead(), times=1)
    async with rig.resolver() as resolver:
        assert (await resolver.identity(did)).did == did
    assert rig.directory.requests == 4
    assert all(0.5 * base <= slept <= base for slept, base in zip(rig.clock.slept, (1, 2, 4), strict=True))


@pytest.mark.parametrize("status", [400, 401, 403, 451, 301])
async def test_another_status_is_an_answer(rig, status):
    rig.directory.trouble("/", failing(status))
    async with rig.resolver() as resolver:
        with pytest.raises(DidDocument):
            await resolver.identity(rig.account(1))
    assert rig.directory.requests == 1


async def test_retry_after_is_obeyed_or_ends_the_errand(rig):
    did = rig.account(1)
    rig.directory.trouble("/", failing(429, retry_after=7), times=1)
    async with rig.resolver() as resolver:
        await resolver.identity(did)
        assert rig.clock.slept == [7]
        rig.directory.trouble("/", failing(429, retry_after=300))
        with pytest.raises(DidFailed) as caught:
            await resolver.identity(rig.account(2))
        assert 290 < caught.value.retry_at - rig.clock() <= 300
    assert rig.clock.slept == [7]


async def test_a_tombstone_is_not_found_and_a_2_gib_document_is_bad(rig):
    did = rig.account(1)
    rig.directory.tombstones.add(did)
    async with rig.resolver() as resolver:
        with pytest.raises(DidNotFound):
            await resolver.identity(did)
        rig.directory.trouble("/", endless(2 << 30))
        with pytest.raises(DidDocument):
            await resolver.identity(rig.account(2))


async def test_negative_answers_are_remembered_longer_each_time(rig):
    async with rig.resolver() as resolver:
        for hours, requests in ((0, 1), (0.9, 1), (0.2, 2), (1.9, 2), (0.2, 3)):
            rig.clock.now += hours * 3600
            with pytest.raises(DidNotFound):
                await resolver.identity(did_of(1, 1))
            assert rig.directory.requests == requests


async def test_a_document_is_renewed_behind_the_callers_back_and_gone_after_a_day(rig):
    did = rig.account(1)
    async with rig.resolver() as resolver:
        await resolver.identity(did)
        rig.clock.now += 13 * 3600
        assert (await resolver.prefetch([did])) == ({}, {})
        await until(lambda: rig.directory.requests == 2)
        await until(lambda: rig.value("identity_cache_total", layer="memory", result="stale") == 1)
        rig.clock.now += 25 * 3600
        assert resolver.known(did) is None
        await resolver.identity(did)
        assert rig.directory.requests == 3


async def test_while_nobody_answers_the_old_document_is_served_stale_for_7_days(rig):
    did = rig.account(1)
    async with rig.resolver(retries=0) as resolver:
        await resolver.identity(did)
        rig.directory.trouble("/", failing(503))
        rig.clock.now += 25 * 3600
        assert await resolver.prefetch([did]) == ({}, {})
        assert resolver.known(did).stale
        with pytest.raises(DidFailed):
            await resolver.identity(did, fresh=True)
        rig.clock.now += 7 * 24 * 3600
        assert list((await resolver.prefetch([did])).failed) == [did]
        assert resolver.known(did) is None


async def test_an_identity_event_makes_the_next_look_go_to_the_network(rig):
    did = rig.account(1)
    async with rig.resolver() as resolver:
        old = await resolver.identity(did)
        rig.account(1, key="rotated")
        resolver.invalidate(did)
        assert resolver.known(did) is None
        assert await resolver.prefetch([did]) == ({}, {})
        assert resolver.known(did).key != old.key
        requests = rig.directory.requests
        for _ in range(10):
            resolver.invalidate(did)
        await asyncio.sleep(0.05)
        assert rig.directory.requests <= requests + 1


async def test_what_was_asked_before_the_change_is_not_believed_after_it(rig):
    did = rig.account(1)
    rig.directory.trouble("/", slow(0.1), times=1)
    async with rig.resolver() as resolver:
        early = asyncio.ensure_future(resolver.identity(did))
        await until(lambda: rig.directory.requests == 1)
        resolver.invalidate(did)
        rig.account(1, key="rotated")
        await resolver.prefetch([did])
        await early
        assert (
            resolver.known(did).key.multikey()
            == rig.documents[did]["verificationMethod"][0]["publicKeyMultibase"]
        )
    assert rig.shelf.findings[did].expires_at != 0


async def test_a_restart_is_no_cold_start(rig):
    dids = [rig.account(number) for number in range(50)]
    async with rig.resolver() as resolver:
        await resolver.prefetch([*dids, did_of(3, 1)])
    assert rig.directory.requests == 51
    async with rig.resolver() as resolver:
        done = await resolver.prefetch([*dids, did_of(3, 1)])
        assert all(resolver.known(did) for did in dids)
        assert done.refused == {did_of(3, 1): Outcome.not_found}
    assert rig.directory.requests == 51
    assert rig.shelf.loads[-1] == 51  # one statement for all


async def test_patience_ends_before_the_errand_does(rig):
    did = rig.account(1)
    rig.directory.trouble("/", slow(0.3))
    async with rig.resolver() as resolver:
        with pytest.raises(Postponed):
            await resolver.identity(did, wait=0.02)
        assert list((await resolver.prefetch([did], wait=0.02)).failed) == [did]
        assert (await resolver.identity(did)).did == did
    assert rig.directory.requests == 1


async def test_a_handle_counts_only_if_it_leads_both_ways(rig):
    honest = rig.account(1, "honest.sim.test")
    thief = rig.account(2, "honest.sim.test")
    nameless = rig.account(3)
    rig.names.txt["honest.sim.test"] = [b"did=" + honest.encode()]
    async with rig.resolver() as resolver:
        assert await resolver.verify_handle(honest) is HandleState.valid
        assert await resolver.verify_handle(thief) is HandleState.invalid
        assert await resolver.verify_handle(nameless) is HandleState.invalid
        assert await resolver.verify_handle(did_of(9, 9)) is HandleState.invalid
        assert rig.names.asked["_atproto.honest.sim.test"] == 1
    assert rig.shelf.findings[honest].handle_state is HandleState.valid
    assert rig.shelf.findings[thief].handle_state is HandleState.invalid


async def test_a_renamed_account_is_checked_again(rig):
    did = rig.account(1, "old.sim.test")
    rig.names.txt["old.sim.test"] = rig.names.txt["new.sim.test"] = [b"did=" + did.encode()]
    async with rig.resolver() as resolver:
        assert await resolver.verify_handle(did) is HandleState.valid
        rig.account(1, "new.sim.test")
        resolver.invalidate(did)
        await until(lambda: rig.names.asked["_atproto.new.sim.test"] == 1)
        assert await resolver.verify_handle(did) is HandleState.valid
    assert rig.shelf.findings[did].identity.handle == "new.sim.test"


async def test_a_handle_nobody_can_answer_for_is_unknown(rig):
    did = rig.account(1, "dead.sim.test")
    rig.names.txt["dead.sim.test"] = OSError("timeout")
    async with rig.resolver(retries=0) as resolver:
        assert await resolver.verify_handle(did) is HandleState.unknown
        with pytest.raises(DidFailed):
            await resolver.handle("dead.sim.test")


@pytest.mark.parametrize(
    "tld", ["local", "arpa", "invalid", "localhost", "internal", "example", "onion", "alt"]
)
async def test_nobody_owns_names_under_some_domains(rig, tld):
    async with rig.resolver() as resolver:
        with pytest.raises(HandleNotFound):
            await resolver.handle(f"alice.{tld}")
    assert not rig.names.asked


async def test_both_are_asked_two_dids_fail_and_the_dns_is_preferred(rig):
    world = World(1, 5)
    world.take(100)
    account = next(iter(world.accounts.values()))
    async with Pds(world) as pds, rig.resolver(well_known_port=pds.port) as resolver:
        assert await resolver.handle(account.handle) == account.did  # by the well-known file alone
        rig.names.txt["dns.sim.test"] = [b"v=spf1", b"did=" + did_of(1, 1).encode()]
        assert await resolver.handle("dns.sim.test") == did_of(1, 1)
        rig.names.txt["two.sim.test"] = [b"did=" + did_of(1, n).encode() for n in (1, 2)]
        with pytest.raises(HandleNotFound):
            await resolver.handle("two.sim.test")
        rig.names.txt["twice.sim.test"] = [b"did=" + did_of(1, 1).encode()] * 2
        assert await resolver.handle("TWICE.sim.test") == did_of(1, 1)


async def test_85_percent_of_looks_are_hits_after_warm_up_in_the_simulation(rig):
    world = World(1, 300)
    events = world.take(6000)
    rig.documents.update((did, world.document(did)) for did in world.accounts)
    async with rig.resolver() as resolver:
        for start in range(0, len(events), 200):
            if start == 2000:
                warm = dict(resolver.snapshot().cache)
            batch = [event.did for event in events[start : start + 200]]
            assert await resolver.prefetch(batch) == ({}, {})
            assert all(resolver.known(did) for did in batch)
        cache = resolver.snapshot().cache
    hits = cache["hit"] - warm["hit"]
    assert hits / (hits + cache["miss"] - warm["miss"]) >= 0.85
    assert rig.directory.requests == len({event.did for event in events})


async def test_a_recordings_identities_seed_the_memory(rig):
    async with rig.resolver() as resolver:
        identities = list(read_identities(DEVNET))
        assert resolver.seed(identities) == len(identities)
        assert await resolver.prefetch([one.did for one in identities]) == ({}, {})
        assert resolver.known(identities[0].did) == identities[0]
    assert rig.directory.requests == 0


async def test_did_web_documents_come_from_their_host(rig):
    async def document(request):
        from aiohttp import web

        return web.json_response({"id": f"did:web:localhost%3A{host.port}"})

    async with Host({"/.well-known/did.json": document}) as host, rig.resolver() as resolver:
        did = f"did:web:localhost%3A{host.port}"
        assert (await resolver.identity(did, priority=Priority.live)).did == did
