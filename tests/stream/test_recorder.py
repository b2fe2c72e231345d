from __future__ import annotations

import hashlib
import json
import threading

import pytest

from firehose_indexer.errors import ConfigError
from firehose_indexer.stream import recorder as recorder_module
from firehose_indexer.stream.recorder import Recorder
from firehose_indexer.stream.recording import read_frames
from firehose_indexer.stream.source import Source
from tests.stream.stream_wire import DEVNET, identity

SOURCE = Source("r.example", "wss://r.example/xrpc/x")
FRAMES = list(read_frames(DEVNET / "devnet-small.frames.zst"))


class Counts:
    def __init__(self):
        self.written = 0
        self.lost = 0

    def recorded(self, frames):
        self.written += frames

    def recorder_dropped(self, frames):
        self.lost += frames


def recorder(path, counts=None, **more):
    return Recorder(path, SOURCE, counts or Counts(), **({"version": "9", "max_bytes": 1 << 30} | more))


def test_what_goes_in_comes_out_byte_for_byte(tmp_path):
    path, counts = tmp_path / "deep" / "x.frames.zst", Counts()
    with recorder(path, counts) as tap:
        for start in range(0, len(FRAMES), 100):
            tap.tap(FRAMES[start : start + 100])
    assert list(read_frames(path)) == FRAMES
    assert (tap.frames, tap.dropped, counts.written, counts.lost) == (2186, 0, 2186, 0)
    about = json.loads((tmp_path / "deep" / "x.json").read_text())
    assert about["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (about["first_seq"], about["last_seq"], about["frames"]) == (1, 2186, 2186)
    assert about["bytes"] == sum(map(len, FRAMES)) + 4 * len(FRAMES)
    assert (about["source"], about["version"], about["dropped"]) == ("r.example", "9", 0)
    assert sorted(p.name for p in path.parent.iterdir()) == ["x.frames.zst", "x.json"]


def test_an_unfinished_file_keeps_its_part_name_and_has_no_json(tmp_path, monkeypatch):
    monkeypatch.setattr(recorder_module, "_FLUSH_SECONDS", 0.01)
    path = tmp_path / "x.frames.zst"
    flushed = threading.Event()
    original = recorder_module._File.flush
    monkeypatch.setattr(recorder_module._File, "flush", lambda self: (original(self), flushed.set()))
    with recorder(path) as tap:
        tap.tap([identity(1)])
        while not tap.frames:
            pass
        flushed.clear()
        assert flushed.wait(10)
        assert [p.name for p in tmp_path.iterdir()] == ["x.frames.zst.part"]
        cuts = []
        assert list(read_frames(tmp_path / "x.frames.zst.part", cuts.append)) == [identity(1)]
        assert len(cuts) == 1


def test_a_full_file_is_followed_by_the_next_and_nothing_is_lost(tmp_path):
    path = tmp_path / "x.frames.zst"
    noise = [hashlib.shake_256(bytes([n])).digest(200_000) for n in range(10)]
    with recorder(path, max_bytes=500_000) as tap:
        for frame in noise:
            tap.tap([frame])
    files = sorted(tmp_path.glob("*.frames.zst"))
    assert [f.name for f in files][:2] == ["x.0001.frames.zst", "x.0002.frames.zst"]
    in_order = [path, *(f for f in files if f != path)]
    assert [frame for file in in_order for frame in read_frames(file)] == noise
    assert len(list(tmp_path.glob("*.json"))) == len(files) > 2


def test_a_slow_disk_costs_frames_of_the_recording_never_the_stream(tmp_path, monkeypatch):
    go, counts = threading.Event(), Counts()
    original = recorder_module._File.write
    monkeypatch.setattr(
        recorder_module._File, "write", lambda self, frame: (go.wait(10), original(self, frame))
    )
    with recorder(tmp_path / "x.frames.zst", counts, buffer_bytes=1000) as tap:
        for _ in range(100):
            tap.tap([b"\x00" * 100])
        go.set()
    assert counts.lost == tap.dropped > 50
    assert tap.frames + tap.dropped == 100
    assert json.loads((tmp_path / "x.json").read_text())["dropped"] == tap.dropped


def test_a_disk_that_fails_ends_the_recording_and_counts(tmp_path, monkeypatch):
    def full(self, frame):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(recorder_module._File, "write", full)
    counts = Counts()
    tap = recorder(tmp_path / "x.frames.zst", counts)
    with tap:
        tap.tap([identity(1)])
        tap._thread.join()
        tap.tap([identity(2)])
    assert counts.lost >= 1
    assert not (tmp_path / "x.json").exists()


def test_only_kept_binary_messages_are_recorded(tmp_path):
    path = tmp_path / "x.frames.zst"
    with recorder(path, keep=lambda frame: b"did:plc:abc" in frame) as tap:
        tap.tap(["text", identity(1), identity(2, did="did:plc:other")])
    assert list(read_frames(path)) == [identity(1)]


def test_a_recording_is_never_overwritten(tmp_path):
    path = tmp_path / "x.frames.zst"
    path.write_bytes(b"precious")
    with pytest.raises(ConfigError), recorder(path):
        pass
    with pytest.raises(ConfigError):
        recorder(tmp_path / "x.bin")
    assert path.read_bytes() == b"precious"
