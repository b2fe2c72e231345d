"""A personal data server on loopback: the repositories of a world, as CARs and as JSON (spec/protocol §7)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from aiohttp import web

from firehose_indexer.repo.car import read_car, write_car
from firehose_indexer.repo.data import cid_text, decode, to_json
from firehose_indexer.repo.tree import new_blocks, proof_blocks
from firehose_indexer.sim.host import Handler, Host, Trouble

if TYPE_CHECKING:
    from firehose_indexer.sim.account import Account
    from firehose_indexer.sim.world import World

SYNC = "/xrpc/com.atproto.sync."
REPO = "/xrpc/com.atproto.repo."
CAR = "application/vnd.ipld.car"
_INACTIVE = {
    "deactivated": "RepoDeactivated",
    "suspended": "RepoSuspended",
    "takendown": "RepoTakendown",
    "deleted": "RepoNotFound",
}


class Pds(Host):
    """Hosts every account of ``world``, which must be one without history: what a host serves it must hold."""

    def __init__(self, world: World, *, port: int = 0, host: str = "127.0.0.1") -> None:
        routes: dict[str, Handler] = {
            SYNC + "getRepo": self._get_repo,
            SYNC + "getRecord": self._get_proof,
            SYNC + "getLatestCommit": self._get_latest_commit,
            SYNC + "getRepoStatus": self._get_repo_status,
            SYNC + "listRepos": self._list_repos,
            REPO + "getRecord": self._get_record,
            REPO + "describeServer": self._describe_server,
            "/xrpc/com.atproto.server.describeServer": self._describe_server,
            "/.well-known/atproto-did": self._well_known,
        }
        super().__init__(routes, port=port, host=host)
        self._world = world

    async def _get_repo(self, request: web.Request) -> web.Response:
        account = self._active(request)
        return web.Response(body=repo_car(account), content_type=CAR)

    async def _get_proof(self, request: web.Request) -> web.Response:
        """The commit, the nodes on the way to a path, and the record if there is one."""
        account = self._active(request)
        path = f"{_asked(request, 'collection')}/{_asked(request, 'rkey')}"
        blocks = _commit_block(account) | proof_blocks(account.tree, account.tree, [path.encode()])
        stored = account.records.get(path)
        if stored is not None:
            blocks[stored.cid] = stored.block
        return web.Response(body=write_car(account.head, blocks), content_type=CAR)

    async def _get_latest_commit(self, request: web.Request) -> web.Response:
        account = self._active(request)
        return web.json_response({"cid": cid_text(account.head), "rev": account.rev})

    async def _get_repo_status(self, request: web.Request) -> web.Response:
        account = self._account(_asked(request, "did"))
        answer = {"did": account.did, "active": account.status is None}
        extra = {"rev": account.rev} if account.status is None else {"status": account.status}
        return web.json_response(answer | extra)

    async def _list_repos(self, request: web.Request) -> web.Response:
        limit = int(request.query.get("limit", "500"))
        start = int(request.query.get("cursor", "0"))
        accounts = list(self._world.accounts.values())
        repos = [
            {
                "did": one.did,
                "head": cid_text(one.head),
                "rev": one.rev,
                "active": one.status is None,
                **({} if one.status is None else {"status": one.status}),
            }
            for one in accounts[start : start + limit]
            if one.rev is not None
        ]
        more = {"cursor": str(start + limit)} if start + limit < len(accounts) else {}
        return web.json_response({"repos": repos, **more})

    async def _get_record(self, request: web.Request) -> web.Response:
        account = self._account(_asked(request, "repo"))
        collection, rkey = _asked(request, "collection"), _asked(request, "rkey")
        stored = account.records.get(f"{collection}/{rkey}")
        if stored is None:
            raise _problem(400, "RecordNotFound")
        answer = {
            "uri": f"at://{account.did}/{collection}/{rkey}",
            "cid": cid_text(stored.cid),
            "value": json.loads(to_json(decode(stored.block), stored.block).text),
        }
        return web.json_response(answer)

    async def _describe_server(self, request: web.Request) -> web.Response:
        return web.json_response({"did": f"did:web:{request.host}", "availableUserDomains": [".sim.test"]})

    async def _well_known(self, request: web.Request) -> web.Response:
        """The DID of the account whose handle is the host asked for."""
        name = request.host.partition(":")[0]
        for account in self._world.accounts.values():
            if account.handle == name:
                return web.Response(text=account.did)
        raise _problem(404, "NotFound")

    def _account(self, did: str) -> Account:
        account = self._world.accounts.get(did)
        if account is None or account.rev is None:
            raise _problem(400, "RepoNotFound")
        return account

    def _active(self, request: web.Request) -> Account:
        account = self._account(_asked(request, "did"))
        if account.status in _INACTIVE:
            raise _problem(400, _INACTIVE[account.status])
        return account


def repo_car(account: Account) -> bytes:
    """The whole repository: commit, nodes, records."""
    records = {one.cid: one.block for one in account.records.values()}
    return write_car(account.head, _commit_block(account) | new_blocks(None, account.tree) | records)


def cut_after(blocks: int) -> Trouble:
    """A CAR that ends at a block border: well-formed, smaller, and not the repository."""

    async def happen(request: web.Request, handler: Handler) -> web.StreamResponse:
        answer = await handler(request)
        assert isinstance(answer, web.Response)
        assert isinstance(answer.body, bytes)
        car = read_car(answer.body, max_blocks=1_000_000)
        kept = dict(list(car.blocks.items())[:blocks])
        return web.Response(body=write_car(car.root, kept), content_type=CAR)

    return Trouble("cut", happen)


def _commit_block(account: Account) -> dict[bytes, bytes]:
    return {account.head: read_car(account.sync_car()).block(account.head)}


def _asked(request: web.Request, name: str) -> str:
    value = request.query.get(name)
    if not value:
        raise _problem(400, "InvalidRequest")
    return value


def _problem(status: int, error: str) -> web.HTTPException:
    kind = {400: web.HTTPBadRequest, 404: web.HTTPNotFound}[status]
    return kind(text=json.dumps({"error": error, "message": error}), content_type="application/json")
