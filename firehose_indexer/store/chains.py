"""(rev, data) of each repo: what a commit must follow, known before it is read (protocol §5, check 8)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from firehose_indexer.store.memory import TwoGenerations
from firehose_indexer.store.patience import patiently


class Chain(NamedTuple):
    """The last applied commit of a repo; ``data`` is its MST root. ``broken``: why the repo is desynchronized."""

    rev: str | None
    data: bytes | None
    broken: str | None = None
    since_seq: int | None = None


LOAD = """
select a.did, r.rev, r.data, r.reason, r.since_seq
from ix.actors a join ix.repos r on r.actor_id = a.id
where a.did = any($1::text[]) and (r.rev is not null or r.reason is not null)
"""


class Chains:
    """The newest chain of every repo in flight or seen lately.

    ``put`` runs ahead of the database: an entry must outlive its batch's way to the commit. It does,
    because a generation holds many times more repos than the batches in flight.
    """

    def __init__(self, pool: Any, size: int) -> None:
        self._pool = pool
        self._known: TwoGenerations[Chain | None] = TwoGenerations(size)

    async def load(self, dids: Iterable[str]) -> None:
        """Makes every one of ``dids`` known, with one statement for those that are not.

        Waits for the database as long as it takes: an event must not pass unjudged.
        """
        missing = self._known.missing(dids)
        if not missing:
            return
        rows = await patiently(lambda: self._pool.fetch(LOAD, missing))
        found = {did: Chain(*chain) for did, *chain in rows}
        for did in missing:
            self._known.put(did, found.get(did))

    def get(self, did: str) -> Chain | None:
        """The chain of a loaded repo; None at first sight."""
        return self._known[did]

    def put(self, did: str, chain: Chain) -> None:
        self._known.put(did, chain)

    def __len__(self) -> int:
        return len(self._known)
