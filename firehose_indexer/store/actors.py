"""DIDs as small ids, NSIDs as smaller ones (design §4). Handlers never see them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from firehose_indexer.store.memory import TwoGenerations

FIND = "select did, id from ix.actors where did = any($1::text[])"
# absent ones only: a conflict would burn an id, and ids are 32 bits wide
ADD = """
insert into ix.actors (did)
select d from unnest($1::text[]) d where not exists (select from ix.actors a where a.did = d) order by d
on conflict (did) do nothing
returning did, id
"""
COLLECTIONS = "select nsid, id from ix.collections"
ADD_COLLECTION = """
insert into ix.collections (nsid) values ($1) on conflict (nsid) do update set nsid = excluded.nsid returning id
"""


class Actors:
    """The ids of accounts and collections, as far as committed transactions know them."""

    def __init__(self, size: int) -> None:
        self._ids: TwoGenerations[int] = TwoGenerations(size)
        self.collections: dict[str, int] = {}

    async def resolve(
        self, connection: Any, dids: Iterable[str]
    ) -> tuple[dict[str | None, int | None], dict[str, int]]:
        """The id of every one of ``dids``, and which of them this transaction has made.

        New ids must be handed to ``remember`` after the commit and forgotten when it fails.
        """
        wanted = set(dids)
        missing = self._ids.missing(wanted)
        fresh: dict[str, int] = {}
        if missing:
            fresh = dict(await connection.fetch(FIND, missing))
            if len(fresh) < len(missing):
                fresh.update(await connection.fetch(ADD, [did for did in missing if did not in fresh]))
            if len(fresh) < len(missing):
                # another shard made them between the two statements
                fresh.update(await connection.fetch(FIND, [did for did in missing if did not in fresh]))
        ids: dict[str | None, int | None] = {None: None}
        known = self._ids
        for did in wanted:
            ids[did] = fresh[did] if did in fresh else known[did]
        return ids, fresh

    def remember(self, fresh: dict[str, int]) -> None:
        for did, actor_id in fresh.items():
            self._ids.put(did, actor_id)

    async def load_collections(self, connection: Any) -> None:
        self.collections = dict(await connection.fetch(COLLECTIONS))

    async def resolve_collections(
        self, connection: Any, nsids: Iterable[str]
    ) -> dict[str | None, int | None]:
        """The id of every collection, those of ``nsids`` that are new included."""
        ids: dict[str | None, int | None] = {None: None, **self.collections}
        for nsid in sorted(set(nsids) - self.collections.keys()):
            ids[nsid] = await connection.fetchval(ADD_COLLECTION, nsid)
        return ids

    def remember_collections(self, ids: dict[str | None, int | None]) -> None:
        self.collections = {nsid: at for nsid, at in ids.items() if nsid is not None and at is not None}

    def __len__(self) -> int:
        return len(self._ids)
