"""A bounded memory of what was used lately, cheap enough for every event."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

V = TypeVar("V")


class TwoGenerations(Generic[V]):
    """Holds at most ``2 × size`` entries and always the ``size`` used last.

    An LRU list costs a microsecond a look-up; here a hit is one dict access. When the young generation
    is full it becomes the old one, and what nobody asks for again goes with it.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._young: dict[str, V] = {}
        self._old: dict[str, V] = {}

    def missing(self, keys: Iterable[str]) -> list[str]:
        """Those of ``keys`` that are not held, each once; the others become young."""
        young, old = self._young, self._old
        absent: dict[str, None] = {}
        for key in keys:
            if key not in young:
                if key in old:
                    young[key] = old.pop(key)
                else:
                    absent[key] = None
        self._turn()
        return list(absent)

    def put(self, key: str, value: V) -> None:
        self._young[key] = value
        self._turn()

    def __getitem__(self, key: str) -> V:
        young = self._young
        return young[key] if key in young else self._old[key]

    def __contains__(self, key: str) -> bool:
        return key in self._young or key in self._old

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def clear(self) -> None:
        self._young, self._old = {}, {}

    def _turn(self) -> None:
        if len(self._young) > self._size:
            self._young, self._old = {}, self._young
