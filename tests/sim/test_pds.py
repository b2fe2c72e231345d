from __future__ import annotations

import aiohttp
import pytest

from firehose_indexer.repo.car import read_car
from firehose_indexer.repo.data import cid_of, cid_text
from firehose_indexer.sim.host import failing, lying
from firehose_indexer.sim.pds import SYNC, Pds, cut_after, repo_car
from firehose_indexer.sim.world import World


@pytest.fixture
async def world():
    world = World(1, 20)
    world.take(1500)
    return world


@pytest.fixture
async def pds(world):
    async with Pds(world) as pds:
        yield pds


def active(world: World):
    return max(
        (one for one in world.accounts.values() if one.status is None), key=lambda one: len(one.records)
    )


async def get(pds: Pds, method: str, **params):
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{pds.url}/xrpc/com.atproto.{method}", params=params) as answer,
    ):
        return answer.status, await (answer.read() if "car" in answer.content_type else answer.json())


async def test_a_repo_comes_whole(world, pds):
    account = active(world)
    status, body = await get(pds, "sync.getRepo", did=account.did)
    car = read_car(body)
    assert (status, car.root) == (200, account.head)
    assert all(cid == cid_of(block) for cid, block in car.blocks.items())
    assert {cid for _, cid in account.tree.items()} | set(account.tree.blocks()) <= set(car.blocks)


async def test_a_cut_car_is_well_formed_and_smaller(world, pds):
    account = active(world)
    whole = read_car(repo_car(account))
    pds.trouble(SYNC + "getRepo", cut_after(len(whole.blocks) - 1), times=1)
    _, body = await get(pds, "sync.getRepo", did=account.did)
    assert len(read_car(body).blocks) == len(whole.blocks) - 1
    assert pds.fired == {"cut": 1}


async def test_records_commits_and_statuses_agree(world, pds):
    account = active(world)
    path, stored = next(iter(account.records.items()))
    collection, rkey = path.split("/")
    _, body = await get(pds, "sync.getRecord", did=account.did, collection=collection, rkey=rkey)
    assert read_car(body).blocks[stored.cid] == stored.block
    _, record = await get(pds, "repo.getRecord", repo=account.did, collection=collection, rkey=rkey)
    assert record["cid"] == cid_text(stored.cid)
    assert await get(pds, "sync.getLatestCommit", did=account.did) == (
        200,
        {"cid": cid_text(account.head), "rev": account.rev},
    )
    assert (await get(pds, "sync.getRepoStatus", did=account.did))[1]["active"]
    missing = await get(pds, "repo.getRecord", repo=account.did, collection=collection, rkey="none")
    assert (missing[0], missing[1]["error"]) == (400, "RecordNotFound")
    assert (await get(pds, "sync.getRepo", did="did:plc:x"))[1]["error"] == "RepoNotFound"


async def test_list_repos_pages_through_everybody(world, pds):
    found, cursor = [], {}
    while True:
        _, page = await get(pds, "sync.listRepos", limit="7", **cursor)
        found += [repo["did"] for repo in page["repos"]]
        if "cursor" not in page:
            break
        cursor = {"cursor": page["cursor"]}
    assert found == [one.did for one in world.accounts.values() if one.rev]


async def test_troubles_happen_so_often_and_are_counted(world, pds):
    account = active(world)
    pds.trouble(SYNC, failing(503, retry_after=3), times=2)
    pds.trouble(SYNC, lying(lambda body: body.replace(b"rev", b"lie")), times=1)
    answers = [await get(pds, "sync.getLatestCommit", did=account.did) for _ in range(4)]
    assert [status for status, _ in answers] == [503, 503, 200, 200]
    assert ["lie" in body for _, body in answers] == [False, False, True, False]
    assert pds.fired == {"503": 2, "lying": 1}
