"""What an account had done before the stream began: keys and CIDs of records nobody is shown.

They give a repository the depth of a used one. Cheap to make, the same every time.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from firehose_indexer.sim import clock
from firehose_indexer.sim.writing import FOLLOW, LIKE, POST, REPOST

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST = 20_000
_PATTERN = (LIKE,) * 11 + (FOLLOW,) * 4 + (POST,) * 3 + (REPOST,) * 2


def history(seed: int, who: int, amount: int, start: int) -> Iterator[tuple[str, bytes]]:
    """(path, CID) of ``amount`` records, one every twenty minutes up to ``start`` (µs), sorted by path."""
    rng = Random(f"history {seed} {who}")
    paths = []
    for age in range(min(amount, MOST), 0, -1):
        time = start - age * 1200 * clock.SECOND + int(rng.random() * clock.SECOND)
        paths.append(f"{_PATTERN[int(20 * rng.random())]}/{clock.tid(time, who & 1023)}")
    for path in sorted(paths):
        yield path, b"\x01\x71\x12\x20" + rng.randbytes(32)
