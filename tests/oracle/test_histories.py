"""Any history, in any batches: the database equals the oracle, row for row, views included."""

from __future__ import annotations

import pytest

from firehose_indexer.sim.world import World
from tests.oracle.compare import check
from tests.oracle.reading import Oracle
from tests.rig import feed


@pytest.mark.parametrize(
    ("seed", "accounts", "events", "batch_ops"),
    [(1, 40, 3_000, 2_000), (2, 12, 2_000, 150), (3, 60, 3_000, 37), (4, 8, 500, 1)],
)
async def test_a_history_gives_what_the_oracle_reads(
    database: str, seed: int, accounts: int, events: int, batch_ops: int
) -> None:
    frames = [event.frame for event in World(seed, accounts, odd=True).take(events)]
    await feed(database, frames, batch_ops=batch_ops)
    oracle = Oracle().read(frames)
    await check(database, oracle)
    assert oracle.refused, "odd records must be among them"
