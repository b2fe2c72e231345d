"""Whatever bytes a relay sends, the pipeline goes on: no message ever raises out of it."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from firehose_indexer.apply import Applier
from firehose_indexer.records.registry import Registry
from firehose_indexer.sim import wire
from firehose_indexer.sim.faults import POISON
from firehose_indexer.sim.forgery import FORGERIES
from firehose_indexer.sim.wire import Emitted
from firehose_indexer.sim.world import World
from firehose_indexer.store.batch import Batch
from firehose_indexer.store.chains import Chains
from firehose_indexer.stream.intake import Intake
from tests.oracle.compare import check
from tests.oracle.reading import Oracle
from tests.rig import SOURCE, feed, watermark

EVENTS = World(41, 15, odd=True).take(300)
FRAMES = [event.frame for event in EVENTS]
ODD = st.sampled_from(
    [None, -1, 0, 2**53, 2**63, "", "\0", "x" * 5_000, b"", b"\xff" * 36, [], {}, True, "🐈"]
)


class Unknown:
    """A pool without a database: nobody is known."""

    async def fetch(self, *_arguments: Any) -> list[Any]:
        return []


def applied(frames: list[bytes]) -> Batch:
    """One batch of everything that these messages become."""
    chains = Chains(Unknown(), 10_000)
    applier, intake, batch = Applier(Registry.discover(), chains), Intake(), Batch(SOURCE)
    intake.connected(None)
    left: list[bytes | str] = list(frames)
    while left:
        taken = intake.take(left)
        left = left[taken.used :]
        for item in taken.items:
            did = getattr(item, "did", None)
            if did is not None and did not in chains._known:
                chains._known.put(did, None)
            applier.take(batch, item)
        if taken.stop is not None:
            intake.connected(None)
    return batch


@given(data=st.data())
def test_flipped_bytes_never_raise(data: st.DataObject) -> None:
    frame = bytearray(data.draw(st.sampled_from(FRAMES)))
    for _ in range(data.draw(st.integers(1, 8))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, 40))
    applied([bytes(frame[: len(frame) - cut])])


@given(data=st.data())
def test_odd_values_in_any_field_never_raise(data: st.DataObject) -> None:
    kind, body = wire.decode(data.draw(st.sampled_from(FRAMES)))
    name = data.draw(st.sampled_from(sorted(body)))
    if name == "ops" and body["ops"] and data.draw(st.booleans()):
        body["ops"][0][data.draw(st.sampled_from(["action", "path", "cid", "prev"]))] = data.draw(ODD)
    else:
        body[name] = data.draw(ODD)
    applied([wire.encode(kind, body)])


async def test_every_known_way_to_be_wrong_leaves_the_pipeline_running(database: str) -> None:
    """All poisons, all forgeries and a thousand damaged messages, between sound ones, into Postgres."""
    frames = list(damaged(EVENTS))
    last = wire.restamp(FRAMES[-1], 1_000_000)
    await feed(database, [*frames, last], batch_ops=150)
    assert await watermark(database) == 1_000_000


def damaged(events: list[Emitted]) -> Iterator[bytes]:
    rng = Random(5)
    forgeries, poisons = list(FORGERIES.values()), list(POISON.values())
    for seq, event in enumerate(events * 4, 1):
        stamped = event._replace(seq=seq, frame=wire.restamp(event.frame, seq))
        choice = rng.random()
        if choice < 0.1:
            yield rng.choice(poisons)(stamped)
        elif choice < 0.3:
            yield rng.choice(forgeries)(stamped.frame) or stamped.frame
        elif choice < 0.8:
            wrong = bytearray(stamped.frame)
            wrong[rng.randrange(len(wrong))] ^= 1 << rng.randrange(8)
            yield bytes(wrong)
        else:
            yield stamped.frame


async def test_forged_commits_are_judged_as_the_oracle_judges_them(database: str) -> None:
    frames = []
    names = list(FORGERIES)
    for at, event in enumerate(EVENTS):
        forged = FORGERIES[names[at % len(names)]](event.frame) if at % 4 == 3 else None
        frames.append(forged or event.frame)
    await feed(database, frames, batch_ops=40)
    oracle = Oracle().read(frames)
    assert {"commit_did_mismatch", "block_hash_mismatch"} <= {loss.reason for loss in oracle.losses}
    assert any(repo.reason for repo in oracle.repos.values())
    await check(database, oracle)
