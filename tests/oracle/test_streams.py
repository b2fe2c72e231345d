"""One history, delivered in every way a stream may deliver it, gives one database."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest

from firehose_indexer.records.base import Table
from firehose_indexer.sim import wire
from firehose_indexer.sim.acts import Write
from firehose_indexer.sim.faults import Shuffled
from firehose_indexer.sim.wire import Emitted
from firehose_indexer.sim.world import World
from firehose_indexer.store.batch import Batch
from firehose_indexer.store.writer import Writer
from firehose_indexer.stream.recording import read_frames
from tests.oracle.compare import check, contents
from tests.oracle.reading import Oracle
from tests.oracle.rows import Row
from tests.oracle.tables import counts, record_rows
from tests.rig import execute, feed

RECORDING = Path(__file__).parents[1] / "data" / "devnet" / "devnet-small.frames.zst"
EVENTS = 1_500


@pytest.fixture(scope="module")
def history() -> list[Emitted]:
    return World(11, 25, odd=True).take(EVENTS)


def derived(oracle: Oracle) -> dict[str, list[str]]:
    """What does not depend on the seqs of a delivery."""
    rows = record_rows(oracle)
    found: dict[str, list[Row]] = {**rows, **counts(rows)}
    return {name: sorted(map(repr, map(sorted_items, lines))) for name, lines in found.items()}


def sorted_items(row: Row) -> list[tuple[str, object]]:
    return sorted(row.items())


def renumbered(frames: list[bytes]) -> list[bytes]:
    return [wire.restamp(frame, seq) for seq, frame in enumerate(frames, 1)]


def with_late_copies(history: list[Emitted], seed: int) -> list[bytes]:
    """Every third commit comes again, some events later and under a seq of its own."""
    rng = Random(seed)
    places = [(float(at), event.frame) for at, event in enumerate(history)]
    for at, event in enumerate(history):
        if wire.decode(event.frame)[0] in ("#commit", "#sync") and rng.random() < 0.33:
            places.append((at + rng.uniform(0, 200), event.frame))
    return renumbered([frame for _, frame in sorted(places, key=lambda place: place[0])])


@pytest.mark.parametrize("batch_ops", [1, 61, 2_000])
async def test_batch_borders_do_not_show(database: str, history: list[Emitted], batch_ops: int) -> None:
    frames = [event.frame for event in history[:600]]
    await feed(database, frames, batch_ops=batch_ops)
    await check(database, Oracle().read(frames))


@pytest.mark.parametrize("batch_ops", [40, 2_000])
async def test_commits_that_come_again_change_nothing(
    database: str, history: list[Emitted], batch_ops: int
) -> None:
    frames = with_late_copies(history, batch_ops)
    assert len(frames) > EVENTS * 1.2
    await feed(database, frames, batch_ops=batch_ops)
    oracle = Oracle().read(frames)
    await check(database, oracle)
    assert derived(oracle) == derived(Oracle().read(event.frame for event in history))


async def test_copies_under_their_own_seq_change_nothing(database: str, history: list[Emitted]) -> None:
    frames = [frame for event in history for frame in (event.frame, event.frame)]
    await feed(database, frames, batch_ops=300)
    await check(database, Oracle().read(event.frame for event in history))


@pytest.mark.parametrize("seed", [1, 2])
async def test_order_across_repositories_does_not_matter(
    database: str, history: list[Emitted], seed: int
) -> None:
    shuffled = Shuffled(history, seed, window=64)
    frames = [event.frame for event in shuffled]
    assert shuffled.moved > EVENTS / 2
    await feed(database, frames, batch_ops=100)
    oracle = Oracle().read(frames)
    await check(database, oracle)
    assert derived(oracle) == derived(Oracle().read(event.frame for event in history))


async def test_a_stream_resumed_anywhere_gives_the_same(database: str, history: list[Emitted]) -> None:
    frames = [event.frame for event in history]
    for start, end in ((0, 400), (0, 700), (650, 1_100), (900, len(frames))):
        await feed(database, frames[start:end], batch_ops=90)
    await check(database, Oracle().read(frames))


async def test_a_cursor_moved_back_gives_the_same(database: str, history: list[Emitted]) -> None:
    frames = [event.frame for event in history]
    await feed(database, frames, batch_ops=200)
    await execute(database, "update ix.stream_cursors set watermark = 300")
    await feed(database, frames[250:], batch_ops=170)
    await check(database, Oracle().read(frames))


@pytest.mark.parametrize("batch_ops", [70, 2_000])
async def test_rows_whose_repositories_were_forgotten_are_looked_at(
    database: str, history: list[Emitted], batch_ops: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without chains nothing is stale: every create meets its own row."""
    frames = [event.frame for event in history]
    await feed(database, frames, batch_ops=200)
    looked: set[str] = set()
    write = Writer.write

    async def watched(self: Writer, connection: Any, batch: Batch, look: frozenset[Table]) -> dict[str, int]:
        looked.update(table.name for table in look)
        return await write(self, connection, batch, look)

    monkeypatch.setattr(Writer, "write", watched)
    await execute(database, "delete from ix.repos; update ix.stream_cursors set watermark = null")
    await feed(database, frames, batch_ops=batch_ops)
    assert looked >= {"likes", "posts", "follows"}, "no table was looked at: the fallback was not tried"
    await check(database, Oracle().read(frames))


async def test_deleting_everything_leaves_nothing(database: str) -> None:
    world = World(12, 20)
    frames = [event.frame for event in world.take(900)]
    for account in world.accounts.values():
        frames += deletions(world, account.did)
    frames = renumbered(frames)
    await feed(database, frames, batch_ops=230)
    await check(database, Oracle().read(frames))
    found = await contents(database)
    emptied = {name for name in found if name.startswith("ix.") and not found[name]}
    tables = ("posts", "likes", "reposts", "follows", "blocks", "profiles", "generic_records")
    assert emptied >= {f"ix.{name}" for name in (*tables, "post_counts", "record_counts", "actor_counts")}
    assert not found["appview.notifications"]


def deletions(world: World, did: str) -> list[bytes]:
    """Commits of one account that delete whatever it has, a hundred a time."""
    account = world.accounts[did]
    paths = sorted(account.records)
    frames = []
    for start in range(0, len(paths), 100):
        time = 1_770_000_000_000_000 + start * 1_000
        writes = [Write("delete", path, None) for path in paths[start : start + 100]]
        signed = account.commit(time, 1, writes)
        frames.append(
            wire.commit(
                seq=1,
                did=did,
                time="2026-02-02T02:40:00.000Z",
                rev=signed.rev,
                since=signed.since,
                cid=signed.cid,
                blocks=signed.blocks,
                ops=signed.ops,
                prev_data=signed.prev_data,
            )
        )
    return frames


EXPECTED = [
    (1724, "bad_field:text"),
    (1725, "missing_field:text"),
    (1727, "bad_uri:subject"),
    (1728, "bad_uri:subject"),
    (1729, "bad_did:subject"),
    (1731, "bad_field:reply"),
    (1735, "bad_rkey"),
]
"""What of the recording can be no row: made so on purpose by whoever recorded it."""


async def test_the_recording_gives_what_the_oracle_reads(database: str) -> None:
    frames = list(read_frames(RECORDING))
    await feed(database, frames, batch_ops=500)
    await check(database, Oracle().read(frames))


async def test_the_recording_quarantines_what_it_must_and_nothing_else(database: str) -> None:
    await feed(database, list(read_frames(RECORDING)), batch_ops=500)
    found = (await contents(database))["ix.quarantine"]
    assert sorted((row["seq"], row["reason"]) for row in found) == EXPECTED


async def test_a_second_replay_of_the_recording_changes_nothing(database: str) -> None:
    frames = list(read_frames(RECORDING))
    await feed(database, frames, batch_ops=500)
    before = await contents(database)
    await execute(database, "update ix.stream_cursors set watermark = null")
    await feed(database, frames, batch_ops=333)
    assert await contents(database) == before
