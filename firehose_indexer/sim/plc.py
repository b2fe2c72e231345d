"""A PLC directory on loopback: documents by DID, and the export of every operation (spec/protocol §9)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from hashlib import sha256
from itertools import islice
from typing import TYPE_CHECKING, Any

from aiohttp import web

from firehose_indexer.sim import clock
from firehose_indexer.sim.host import Host

if TYPE_CHECKING:
    from firehose_indexer.sim.world import World

Operations = Callable[[], Iterable[dict[str, Any]]]


class Directory(Host):
    """``GET /{did}`` gives what ``document`` knows; None is answered with 404, a tombstone with 410.

    ``GET /export`` gives ``operations`` in their order, as JSON lines.
    """

    def __init__(
        self,
        document: Callable[[str], dict[str, Any] | None],
        *,
        operations: Operations = tuple,
        tombstones: Iterable[str] = (),
        port: int = 0,
        host: str = "127.0.0.1",
    ) -> None:
        super().__init__({"/export": self._export, "/{did}": self._answer}, port=port, host=host)
        self.tombstones = set(tombstones)
        self._document = document
        self._operations = operations

    @classmethod
    def of_world(cls, world: World, **options: Any) -> Directory:
        return cls(world.document, operations=lambda: operations_of(world), **options)

    async def _answer(self, request: web.Request) -> web.Response:
        did = request.match_info["did"]
        if did in self.tombstones:
            return web.json_response({"message": f"DID not available: {did}"}, status=410)
        document = self._document(did)
        if document is None:
            return web.json_response({"message": f"DID not registered: {did}"}, status=404)
        return web.Response(text=json.dumps(document), content_type="application/did+ld+json")

    async def _export(self, request: web.Request) -> web.Response:
        after = request.query.get("after", "")
        count = min(1000, int(request.query.get("count", "10")))
        page = islice((one for one in self._operations() if one["createdAt"] > after), count)
        return web.Response(text="\n".join(map(json.dumps, page)), content_type="application/jsonlines")


def operations_of(world: World) -> Iterable[dict[str, Any]]:
    """One operation for every account of a world, a second apart; unsigned, for nobody here checks that."""
    for number, account in enumerate(world.accounts.values()):
        document = world.document(account.did) or {}
        pds = document["service"][0]["serviceEndpoint"]
        yield {
            "did": account.did,
            "operation": {
                "type": "plc_operation",
                "verificationMethods": {"atproto": account.key.did_key()},
                "rotationKeys": [account.key.did_key()],
                "alsoKnownAs": document["alsoKnownAs"],
                "services": {"atproto_pds": {"type": "AtprotoPersonalDataServer", "endpoint": pds}},
                "prev": None,
                "sig": "",
            },
            "cid": "bafyrei" + sha256(account.did.encode()).hexdigest(),
            "nullified": False,
            "createdAt": clock.text(clock.EPOCH_2026 + number * clock.SECOND),
        }
