from __future__ import annotations

import io
import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import pytest

from firehose_indexer.guard import Rules
from firehose_indexer.identity.bulk import ImportFailed, Staged, import_directory, import_file
from firehose_indexer.identity.operations import Operation, parse_operation
from firehose_indexer.identity.outcome import Outcome
from firehose_indexer.metrics import Metrics
from firehose_indexer.outbound import Outbound
from firehose_indexer.repo.keys import Curve, PrivateKey
from firehose_indexer.sim.host import failing
from firehose_indexer.sim.people import did as did_of
from firehose_indexer.sim.plc import Directory
from firehose_indexer.sim.world import World
from tests.identity.rig import Clock, Names

EXPORT = Path(__file__).parents[1] / "data" / "devnet" / "devnet-small.plc-export.jsonl"
KEY = PrivateKey.from_seed(b"a", Curve.P256)


class MemoryStaging:
    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.until: datetime | None = None

    async def begun(self) -> Staged:
        return Staged(len(self.operations), self.until)

    async def stage(self, operations: Sequence[Operation], until: datetime | None) -> None:
        self.operations += operations
        self.until = until

    async def merge(self) -> int:
        return len({one.did for one in self.operations})


def line(number=1, body=None, at=0, nullified=False, cid=None):
    body = body or {"type": "plc_operation", "verificationMethods": {"atproto": KEY.did_key()}}
    stamp = f"2026-01-01T00:00:{at:02d}.000Z"
    whole = {
        "did": did_of(1, number),
        "operation": body,
        "cid": cid or f"c{number}-{at}",
        "nullified": nullified,
    }
    return whole | {"createdAt": stamp}


def door() -> Outbound:
    return Outbound(Metrics(), Names(), user_agent="test", rules=Rules.of(allow_private=True))


def test_current_operations_legacy_ones_and_tombstones_are_read():
    pds = {"atproto_pds": {"type": "AtprotoPersonalDataServer", "endpoint": "https://pds.example.com/"}}
    current = {"type": "plc_operation", "alsoKnownAs": ["at://a.example.com"], "services": pds,
               "verificationMethods": {"atproto": KEY.did_key()}}  # fmt: skip
    legacy = {
        "type": "create",
        "signingKey": KEY.did_key(),
        "handle": "a.example.com",
        "service": "https://pds.example.com",
    }
    for body in (current, legacy):
        found = parse_operation(json.dumps(line(body=body)))
        assert (found.outcome, found.handle, found.pds) == (
            Outcome.ok,
            "a.example.com",
            "https://pds.example.com",
        )
        assert found.key == (Curve.P256, KEY.public_key.point)
    assert parse_operation(json.dumps(line(body={"type": "plc_tombstone"}))).outcome is Outcome.not_found
    assert parse_operation(json.dumps(line(nullified=True))).nullified


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "null", "[" * 5000, json.dumps(line(body={"type": "other"}))]
)
def test_what_is_no_operation_is_refused(text):
    with pytest.raises(ValueError):
        parse_operation(text)


async def test_a_real_export_imports_whole_and_bad_lines_are_counted():
    staging = MemoryStaging()
    real = EXPORT.read_bytes()
    done = await import_file(
        io.BytesIO(real + b"not json\n" + json.dumps(line(nullified=True)).encode()), staging
    )
    lines = [json.loads(text) for text in real.splitlines()]
    good = [one for one in lines if not one["nullified"]]
    assert done == (len({one["did"] for one in good}), len(good), 1)


async def test_a_file_goes_on_where_it_was_stopped():
    staging = MemoryStaging()

    class Stopped(Exception):
        pass

    def stop(_: Staged) -> None:
        raise Stopped

    lines = [json.dumps(line(number, at=number)).encode() for number in range(20)]
    with pytest.raises(Stopped):
        await import_file(iter(lines), staging, page=8, told=stop)
    assert len(staging.operations) == 8
    done = await import_file(iter(lines), staging, page=8)
    assert done.accounts == 20
    assert len(staging.operations) == 21  # only the last instant is read again


async def test_paging_takes_every_operation_once_also_where_pages_part_equal_times():
    lines = [line(number, at=number // 4) for number in range(41)]
    lines[6]["nullified"] = True
    clock, staging = Clock(), MemoryStaging()
    async with Directory({}.get, operations=lambda: lines) as directory, door() as outbound:
        done = await import_directory(outbound, directory.url, staging, page=7, sleep=clock.sleep)
    assert sorted(one.did for one in staging.operations) == sorted(
        one["did"] for one in lines if not one["nullified"]
    )
    assert done.operations == 40
    assert all(pause <= 0.5 for pause in clock.slept)
    assert sum(clock.slept) > 0


async def test_a_page_of_one_instant_cannot_hold_an_import_for_ever():
    lines = [line(number) for number in range(9)]
    async with Directory({}.get, operations=lambda: lines) as directory, door() as outbound:
        done = await import_directory(outbound, directory.url, MemoryStaging(), page=5, sleep=Clock().sleep)
    assert done.operations == 5  # the directory cannot be asked for the rest


async def test_an_import_resumes_where_it_was_stopped():
    world = World(1, 60)
    world.take(3000)
    staging, clock = MemoryStaging(), Clock()
    async with Directory.of_world(world) as directory, door() as outbound:

        def stop(held: Staged) -> None:
            if held.operations > 20:
                directory.trouble("/export", failing(503))

        with pytest.raises(ImportFailed):
            await import_directory(outbound, directory.url, staging, page=10, told=stop, sleep=clock.sleep)
        held = len(staging.operations)
        assert 20 < held < len(world.accounts)
        directory.calm()
        requests = directory.requests
        await import_directory(outbound, directory.url, staging, page=10, sleep=clock.sleep)
        assert directory.requests - requests <= (len(world.accounts) - held) // 9 + 2
    assert {one.did for one in staging.operations} == set(world.accounts)
