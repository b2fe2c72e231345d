"""Who takes part: names, weights, and the three kinds of choice a crowd makes.

Activity and fame are skewed as on the network: a few do most, a few are known to most.
"""

from __future__ import annotations

from base64 import b32encode
from bisect import bisect
from hashlib import sha256
from random import Random
from typing import Final

_FIRST = (
    "ada",
    "bo",
    "cleo",
    "dario",
    "eun",
    "femi",
    "gus",
    "hana",
    "ines",
    "jun",
    "kofi",
    "lena",
    "mio",
    "nils",
)
_LAST = (
    "amber",
    "birch",
    "cloud",
    "delta",
    "ember",
    "fjord",
    "grove",
    "heron",
    "iris",
    "jade",
    "kite",
    "lark",
)


def did(seed: int, who: int) -> str:
    """The did:plc of account number ``who``."""
    digest = sha256(f"account {seed} {who}".encode()).digest()
    return f"did:plc:{b32encode(digest).decode().lower()[:24]}"


def handle(who: int, version: int = 0) -> str:
    """The handle of account number ``who``; another version is another handle."""
    name = f"{_FIRST[who % len(_FIRST)]}-{_LAST[who // len(_FIRST) % len(_LAST)]}{who}"
    return f"{name}-{version}.sim.test" if version else f"{name}.sim.test"


class Weights:
    """Numbers 0, 1, 2 … chosen in proportion to their weights, in O(log n)."""

    def __init__(self) -> None:
        self._cumulative: list[float] = []

    def __len__(self) -> int:
        return len(self._cumulative)

    def append(self, weight: float) -> None:
        total = self._cumulative[-1] if self._cumulative else 0.0
        self._cumulative.append(total + weight)

    def choose(self, rng: Random) -> int:
        return bisect(self._cumulative, rng.random() * self._cumulative[-1])


class People:
    """The accounts that have joined, numbered in the order they did."""

    SPREAD: Final = 1.5
    """Sigma of the log-normal activity: the busiest tenth makes about 60 % of all records."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.dids: list[str] = []
        self.handles: list[str] = []
        self.away: dict[int, str] = {}
        """Accounts that are not active, and their status."""
        self._renamed: dict[int, int] = {}
        self._rng = Random(f"people {seed}")
        self._activity = Weights()
        self._fame = Weights()

    def __len__(self) -> int:
        return len(self.dids)

    def join(self) -> int:
        """A new account; gives its number."""
        who = len(self.dids)
        self.dids.append(did(self.seed, who))
        self.handles.append(handle(who))
        self._activity.append(self.activity(who))
        self._fame.append(self._rng.paretovariate(1.2))
        return who

    def activity(self, who: int) -> float:
        """How much this account does; 1 on average."""
        rng = Random(f"activity {self.seed} {who}")
        return rng.lognormvariate(-(self.SPREAD**2) / 2, self.SPREAD)

    def actor(self, rng: Random) -> int:
        """An active account, the busy ones more often."""
        while True:
            who = self._activity.choose(rng)
            if who not in self.away:
                return who

    def famous(self, rng: Random) -> int:
        """Any account, the well-known ones more often."""
        return self._fame.choose(rng)

    def rename(self, who: int) -> str:
        """Give the account a handle that it never had."""
        self._renamed[who] = version = self._renamed.get(who, 0) + 1
        self.handles[who] = handle(who, version)
        return self.handles[who]
