"""Build the bench's workload: a recording of a warmed population's really signed events.

    python bench/make_frames.py [--events 200000] [--accounts 20000] [--history 50] [--seed 1]
                                [--into build/bench]

Writes ``build/bench/<name>.frames.zst`` (u32be length ‖ frame, zstd), ``<name>.identities.jsonl`` (the DID
documents of everybody in it) and ``<name>.json`` (what it is). Same arguments, same bytes; a file that is
there is not made again. The work is shared by ``--processes``.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import struct
import sys
import time
from heapq import merge
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import zstandard

from firehose_indexer.sim.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
_HEAD = struct.Struct(">QI")


class Workload(NamedTuple):
    events: int = 200_000
    accounts: int = 20_000
    history: int = 50
    seed: int = 1
    into: Path = ROOT / "build" / "bench"

    @property
    def path(self) -> Path:
        """Of the recording; its companions stand beside it."""
        name = f"seed{self.seed}-accounts{self.accounts}-history{self.history}-events{self.events}"
        return self.into / f"{name}.frames.zst"

    @property
    def identities(self) -> Path:
        return companion(self.path, ".identities.jsonl")

    def world(self, part: tuple[int, int]) -> World:
        return World(self.seed, self.accounts, history=self.history, part=part)


def companion(recording: Path, suffix: str) -> Path:
    return recording.with_name(recording.name.removesuffix(".frames.zst") + suffix)


def ensure(workload: Workload, processes: int = 2) -> Path:
    """The path of the recording, made now if it is not there."""
    if companion(workload.path, ".json").exists():
        return workload.path
    workload.path.parent.mkdir(parents=True, exist_ok=True)
    begun = time.perf_counter()
    parts = [(k, processes) for k in range(processes)]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        written = pool.starmap(_write_part, [(workload, part) for part in parts])
    frames = size = 0
    with workload.path.open("wb") as file, zstandard.ZstdCompressor(1).stream_writer(file) as out:
        for _, frame in merge(*(_read_part(path) for path, _ in written)):
            out.write(len(frame).to_bytes(4) + frame)
            frames += 1
            size += len(frame)
    documents = sorted(line for _, lines in written for line in lines)
    workload.identities.write_text("".join(documents))
    for path, _ in written:
        path.unlink()
    facts = {
        **{name: value for name, value in workload._asdict().items() if name != "into"},
        "frames": frames,
        "bytes": size,
        "mean_frame_bytes": round(size / frames, 1),
        "identities": len(documents),
        "seconds": round(time.perf_counter() - begun, 1),
        "us_per_event_wall": round((time.perf_counter() - begun) / frames * 1e6, 1),
    }
    # Written last: a recording without it is one that was cut off.
    companion(workload.path, ".json").write_text(json.dumps(facts, indent=1) + "\n")
    return workload.path


def _write_part(workload: Workload, part: tuple[int, int]) -> tuple[Path, list[str]]:
    """Perform one part of the world into a file of (seq, length, frame); gives it and the documents."""
    # Millions of tree nodes and no cycles: a collector that looks at them again and again finds nothing.
    gc.disable()
    world = workload.world(part)
    path = companion(workload.path, f".part{part[0]}")
    with path.open("wb") as file:
        while world.seq < workload.events:
            for event in world.step():
                file.write(_HEAD.pack(event.seq, len(event.frame)) + event.frame)
    return path, [json.dumps(world.document(did)) + "\n" for did in world.accounts]


def _read_part(path: Path) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as file:
        while head := file.read(_HEAD.size):
            seq, length = _HEAD.unpack(head)
            yield seq, file.read(length)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for field, default in Workload._field_defaults.items():
        parser.add_argument(f"--{field}", type=Path if field == "into" else int, default=default)
    parser.add_argument("--processes", type=int, default=2)
    options = vars(parser.parse_args())
    processes = options.pop("processes")
    path = ensure(Workload(**options), processes)
    sys.stdout.write(f"{path}\n{companion(path, '.json').read_text()}")


if __name__ == "__main__":
    main()
