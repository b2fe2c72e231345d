from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import zstandard

from firehose_indexer.errors import ConfigError
from firehose_indexer.stream.events import Gap, Identity, Poison
from firehose_indexer.stream.intake import Position
from firehose_indexer.stream.recording import ReplaySession, read_frames, sha256_of
from tests.stream.stream_wire import DEVNET, FakeClock, identity


def laid_out(*frames):
    return b"".join(len(f).to_bytes(4, "big") + f for f in frames)


def write(path, *frames, tail=b""):
    path.write_bytes(laid_out(*frames) + tail)
    return path


async def replayed(session):
    got = []

    async def deliver(source, items):
        assert source == session.source
        got.extend(items)

    await session.run(deliver)
    return got


def test_plain_and_compressed_hold_the_same_bytes(tmp_path):
    packed = DEVNET / "devnet-small.frames.zst"
    content = zstandard.ZstdDecompressor().decompressobj().decompress(packed.read_bytes())
    plain = tmp_path / "x.frames"
    plain.write_bytes(content)
    frames = list(read_frames(packed))
    assert len(frames) == 2186
    assert frames == list(read_frames(plain))
    assert laid_out(*frames) == content


def test_zstd_streams_back_to_back_are_one_recording(tmp_path):
    pack = zstandard.ZstdCompressor().compress
    path = tmp_path / "x.frames.zst"
    path.write_bytes(pack(laid_out(b"a")) + pack(laid_out(b"bb")))
    assert list(read_frames(path)) == [b"a", b"bb"]


@pytest.mark.parametrize("packed", [False, True])
def test_a_cut_tail_is_reported_with_its_place(tmp_path, packed):
    cuts = []
    whole = laid_out(b"abc", b"defg")
    if packed:
        path = tmp_path / "x.frames.zst"
        writer = zstandard.ZstdCompressor().compressobj()
        path.write_bytes(writer.compress(whole) + writer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK))
    else:
        path = write(tmp_path / "x.frames", b"abc", b"defg", tail=b"\0\0\0\x09xy")
    assert list(read_frames(path, cuts.append)) == [b"abc", b"defg"]
    assert [(cut.frames, cut.offset) for cut in cuts] == [(2, 15)]


@pytest.mark.parametrize("tail", [b"\0", b"\0\0\0", b"\0\0\0\x01", b"\xff\xff\xff\xff1234"])
def test_every_sort_of_damage_keeps_what_is_whole(tmp_path, tail):
    cuts = []
    assert list(read_frames(write(tmp_path / "x.frames", b"abc", tail=tail), cuts.append)) == [b"abc"]
    assert (cuts[0].frames, cuts[0].offset) == (1, 7)


def test_damaged_compression_is_a_cut_too(tmp_path):
    content = bytearray((DEVNET / "devnet-small.frames.zst").read_bytes())
    content[len(content) // 2 : len(content) // 2 + 400] = b"\xff" * 400
    path = tmp_path / "x.frames.zst"
    path.write_bytes(content)
    cuts = []
    assert 0 <= len(list(read_frames(path, cuts.append))) < 2186
    assert len(cuts) == 1


def test_a_missing_recording_is_a_configuration_error(tmp_path):
    with pytest.raises(ConfigError):
        list(read_frames(tmp_path / "none"))
    with pytest.raises(ConfigError):
        ReplaySession(tmp_path / "none")


async def test_replay_delivers_all_under_a_name_of_its_own():
    path = DEVNET / "devnet-small.frames.zst"
    session = ReplaySession(path)
    got = await replayed(session)
    assert [item.seq for item in got] == list(range(1, 2187))
    assert session.source.host == f"file:{sha256_of(path)}"
    assert (session.status.received, session.status.state, session.cut) == (2186, "closed", None)


async def test_replay_goes_on_after_its_watermark():
    async def position(source):
        return Position(2180, None)

    session = ReplaySession(DEVNET / "devnet-small.frames.zst", position=position)
    assert [item.seq for item in await replayed(session)] == [2181, 2182, 2183, 2184, 2185, 2186]


async def test_a_recording_across_reconnects_gives_each_event_once(tmp_path):
    order = [1, 2, 3, 2, 3, 4]
    path = write(tmp_path / "x.frames", *map(identity, order[:3]), b"\xff", *map(identity, order[3:]))
    got = await replayed(ReplaySession(path))
    assert [item.seq for item in got if isinstance(item, Identity)] == [1, 2, 3, 4]
    assert sum(isinstance(item, Poison) for item in got) == 1


async def test_a_recorded_outdated_cursor_is_a_gap_for_who_has_a_watermark():
    async def position(source):
        return Position(3, datetime(2026, 1, 1, tzinfo=UTC))

    got = await replayed(ReplaySession(DEVNET / "edge-outdated.frames", position=position))
    assert isinstance(got[0], Gap)
    assert (got[0].from_seq, got[0].to_seq) == (3, got[1].seq - 1)


async def test_a_cut_recording_ends_and_says_so(tmp_path):
    session = ReplaySession(write(tmp_path / "x.frames", identity(1), tail=b"\0\0"))
    assert len(await replayed(session)) == 1
    assert session.cut is not None
    assert session.cut.frames == 1


@pytest.mark.parametrize(("speed", "waits"), [(1.0, [10.0, 5.0]), (10.0, [1.0, 0.5]), (None, [])])
async def test_speed_is_taken_from_the_messages_own_times(tmp_path, speed, waits):
    start = datetime(2026, 11, 22, tzinfo=UTC)
    times = [(start + timedelta(seconds=s)).isoformat() for s in (0, 10, 15)]
    frames = [identity(n + 1, time=t) for n, t in enumerate([*times, "nonsense"])]
    clock = FakeClock()
    session = ReplaySession(
        write(tmp_path / "x.frames", *frames), speed, now=clock.monotonic, sleep=clock.sleep
    )
    assert len(await replayed(session)) == 4
    assert clock.slept == waits


async def test_a_time_far_ahead_does_not_hold_the_replay_for_ever(tmp_path):
    clock = FakeClock()
    path = write(tmp_path / "x.frames", identity(1), identity(2, time="2999-01-01T00:00:00Z"))
    await replayed(ReplaySession(path, 1.0, now=clock.monotonic, sleep=clock.sleep))
    assert clock.slept == [60.0]


def test_a_speed_of_nothing_is_refused():
    with pytest.raises(ConfigError):
        ReplaySession(DEVNET / "edge-future.frames", 0)
