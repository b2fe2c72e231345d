from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import PIPE

from websockets.asyncio.client import connect

from firehose_indexer.sim.world import World
from firehose_indexer.stream.recording import read_frames

ROOT = Path(__file__).parents[2]
RECORDING = ROOT / "tests" / "data" / "devnet" / "devnet-small.frames.zst"
DEADLINE = 30
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


@asynccontextmanager
async def feeder(recording: Path) -> AsyncIterator[str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, ROOT / "bench" / "feeder.py", recording, env=ENVIRONMENT, stdout=PIPE, stderr=PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(DEADLINE):
            yield (await process.stdout.readline()).decode().strip()
    finally:
        process.kill()
        await process.communicate()


async def test_the_feeder_serves_a_recording_byte_for_byte(tmp_path: Path) -> None:
    recording = tmp_path / RECORDING.name
    recording.write_bytes(RECORDING.read_bytes())
    frames = list(read_frames(recording))
    async with feeder(recording) as url:
        for cursor, first in (("", 0), ("?cursor=0", 0), ("?cursor=2000", 2_000), ("?cursor=99999", 2_186)):
            async with connect(url + cursor, compression=None) as client:
                assert [await client.recv() for _ in frames[first:]] == frames[first:]
                await (await client.ping())


def test_the_workload_is_the_world_whoever_makes_it(tmp_path: Path) -> None:
    options = ["--events", "300", "--accounts", "40", "--history", "5", "--into", str(tmp_path)]
    subprocess.run(
        [sys.executable, ROOT / "bench" / "make_frames.py", *options],
        env=ENVIRONMENT,
        check=True,
        timeout=DEADLINE,
        stdout=subprocess.DEVNULL,
    )
    (recording,) = tmp_path.glob("*.frames.zst")
    frames = list(read_frames(recording))
    world = World(1, 40, history=5)
    assert frames == [event.frame for event in world.take(300)][: len(frames)]
    assert len(frames) >= 300
    identities = next(tmp_path.glob("*.identities.jsonl")).read_text().splitlines()
    assert {json.loads(line)["id"] for line in identities} >= {
        event.did for event in World(1, 40, history=5).take(300)
    }
