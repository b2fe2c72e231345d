"""NSID → declaration (design §2). Finds every module in this package that ends in a ``COLLECTION``."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterable
from importlib import import_module

from firehose_indexer import records
from firehose_indexer.records.base import Collection, Count, Row, Table, no_counts
from firehose_indexer.records.generic import TABLE as GENERIC_TABLE
from firehose_indexer.records.generic import generic


class Registry:
    """The collections this process knows. Registering an NSID twice is an error in our own code."""

    def __init__(self, collections: Iterable[Collection]) -> None:
        self._known: dict[str, Collection] = {}
        for collection in collections:
            if collection.nsid in self._known:
                raise ValueError(f"two declarations for {collection.nsid}")
            self._known[collection.nsid] = collection

    @classmethod
    def discover(cls) -> Registry:
        """Every collection of this package."""
        modules = (
            import_module(f"{records.__name__}.{found.name}")
            for found in pkgutil.iter_modules(records.__path__)
        )
        return cls(module.COLLECTION for module in modules if hasattr(module, "COLLECTION"))

    def of(self, nsid: str) -> Collection:
        """The declaration of ``nsid``; without one, the generic fallback."""
        return self._known.get(nsid) or generic(nsid)

    def counts_of(self, table: Table) -> Callable[[Row], Iterable[Count]]:
        """The effects of a table's rows. Two collections with effects cannot share a table."""
        found = [collection.counts for collection in self._known.values() if collection.table is table]
        if len(found) > 1:
            raise ValueError(f"two collections with effects share {table.name}")
        return found[0] if found else no_counts

    @property
    def collections(self) -> tuple[Collection, ...]:
        return tuple(self._known.values())

    @property
    def tables(self) -> tuple[Table, ...]:
        """Every table that holds records: their union is the record set of a repo."""
        return tuple(dict.fromkeys([*(c.table for c in self._known.values()), GENERIC_TABLE]))
