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


class Terms:
    """What accounts and collections are called in this database, for one transaction.

    ``ids`` and ``colls`` map None to None. ``made`` and ``coined`` exist only if the transaction commits.
    """

    def __init__(self, ids: dict[str | None, int | None], colls: dict[str | None, int | None]) -> None:
        self.ids = ids
        self.colls = colls
        self.nsids = {at: nsid for nsid, at in colls.items()}
        self.made: dict[str, int] = {}
        self.coined: dict[str, int] = {}


class Actors:
    """The ids of accounts and collections, as far as committed transactions know them."""

    def __init__(self, size: int) -> None:
        self._ids: TwoGenerations[int] = TwoGenerations(size)
        self._collections: dict[str, int] = {}

    async def resolve(self, connection: Any, dids: set[str], nsids: Iterable[str]) -> Terms:
        """The terms for these accounts and collections, those that are new included.

        They must be handed to ``remember`` after the commit.
        """
        made = await self._made(connection, self._ids.missing(dids))
        known = self._ids
        ids: dict[str | None, int | None] = {did: known[did] for did in dids if did not in made}
        ids.update(made)
        ids[None] = None
        colls: dict[str | None, int | None] = {None: None}
        colls.update(self._collections)
        terms = Terms(ids, colls)
        terms.made = made
        for nsid in sorted(set(nsids) - self._collections.keys()):
            at = await connection.fetchval(ADD_COLLECTION, nsid)
            terms.coined[nsid] = terms.colls[nsid] = at
            terms.nsids[at] = nsid
        return terms

    async def _made(self, connection: Any, missing: list[str]) -> dict[str, int]:
        if not missing:
            return {}
        found: dict[str, int] = dict(await connection.fetch(FIND, missing))
        # twice: another shard may make them between the two statements
        for statement in (ADD, FIND):
            if len(found) < len(missing):
                found.update(await connection.fetch(statement, [did for did in missing if did not in found]))
        return found

    def remember(self, terms: Terms) -> None:
        """The transaction of ``terms`` is committed."""
        for did, actor_id in terms.made.items():
            self._ids.put(did, actor_id)
        self._collections.update(terms.coined)

    async def load_collections(self, connection: Any) -> None:
        self._collections = dict(await connection.fetch(COLLECTIONS))

    def __len__(self) -> int:
        return len(self._ids)
