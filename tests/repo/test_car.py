from __future__ import annotations

import libipld
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firehose_indexer.errors import CarError, Reason
from firehose_indexer.repo.car import Car, read_car, write_car
from firehose_indexer.repo.data import cid_of
from tests.repo.vectors import commits

BLOCKS = {cid_of(block): block for block in (b"\xa0", b"\x80", b"x" * 200, b"y" * 20_000)}
ROOT = cid_of(b"\xa0")
ARCHIVE = write_car(ROOT, BLOCKS)
HEADER = ARCHIVE[: ARCHIVE.index(b"\x25\x01\x71")]


def refused(data: bytes, **limits: int) -> Reason:
    with pytest.raises(CarError) as caught:
        read_car(data, **limits)
    return caught.value.reason


def section(cid: bytes, block: bytes) -> bytes:
    assert len(cid) + len(block) < 128
    return bytes((len(cid) + len(block),)) + cid + block


def header(value: object) -> bytes:
    data = libipld.encode_dag_cbor(value)
    return bytes((len(data),)) + data


def test_an_archive_reads_back_as_it_was_written() -> None:
    assert read_car(ARCHIVE) == Car(ROOT, BLOCKS)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=8))
def test_any_blocks_read_back(contents: list[bytes]) -> None:
    blocks = {cid_of(block): block for block in contents}
    car = read_car(write_car(ROOT, blocks))
    assert car == Car(ROOT, blocks)
    assert [car.block(cid) for cid in blocks] == list(blocks.values())


def test_blocks_equal_those_of_another_reader() -> None:
    read = 0
    for commit in commits():
        _, theirs = libipld.decode_car(commit["blocks"])
        ours = read_car(commit["blocks"])
        assert {cid: libipld.decode_dag_cbor(block) for cid, block in ours.blocks.items()} == theirs
        read += len(theirs)
    assert read > 6_000


def test_a_block_is_proven_when_it_is_asked_for() -> None:
    forged = write_car(ROOT, {ROOT: b"\xa1"})
    car = read_car(forged)
    with pytest.raises(CarError) as caught:
        car.block(ROOT)
    assert caught.value.reason is Reason.block_hash_mismatch
    with pytest.raises(KeyError):
        car.block(cid_of(b"elsewhere"))


def test_a_cid_of_another_kind_is_kept_and_never_proven() -> None:
    version_0 = b"\x12\x20" + ROOT[4:]
    identity = b"\x01\x55\x00\x02hi"
    car = read_car(HEADER + section(version_0, b"\xa0") + section(identity, b"hi"))
    assert car.blocks == {version_0: b"\xa0", identity: b"hi"}
    for cid in car.blocks:
        with pytest.raises(CarError):
            car.block(cid)


def test_a_cut_archive_is_smaller_or_refused() -> None:
    short = write_car(ROOT, {cid: block for cid, block in BLOCKS.items() if len(block) < 1_000})
    seen = set()
    for end in range(len(short)):
        try:
            car = read_car(short[:end])
        except CarError as error:
            seen.add(error.reason)
            continue
        assert set(car.blocks.items()) < set(BLOCKS.items())
        seen.add(None)
    assert seen == {Reason.car_header_invalid, Reason.car_truncated, None}


@pytest.mark.parametrize(
    "data",
    [b"", b"\x00", b"\xff" * 20, header({"roots": [], "version": 1}), header({"roots": [ROOT], "version": 2}),
     header({"roots": [ROOT]}), header({"version": 1}), header([]), header({"roots": "x", "version": 1}),
     header({"roots": [ROOT], "version": True}), header({"roots": [7], "version": 1}), b"\x3a" + ARCHIVE[1:30],
     HEADER.replace(b"\xd8\x2a\x58\x25\x00", b"\x58\x24").replace(b"\x3a", b"\x37", 1)],
)  # fmt: skip
def test_a_header_of_another_shape_is_invalid(data: bytes) -> None:
    assert refused(data) is Reason.car_header_invalid


def test_only_the_first_root_counts() -> None:
    other = cid_of(b"other")
    assert read_car(header({"roots": [ROOT, other], "version": 1})).root == ROOT


@pytest.mark.parametrize(
    ("sections", "reason"),
    [
        (b"\x00", Reason.car_block_invalid),
        (b"\x05\x01\x71\x12\x20\x00", Reason.car_block_invalid),
        (section(b"\x02" + ROOT[1:], b""), Reason.car_block_invalid),
        (section(b"\x12\x20", b"short"), Reason.car_block_invalid),
        (b"\x80" * 11, Reason.car_block_invalid),
        (b"\x80", Reason.car_truncated),
        (b"\xff" * 9 + b"\x01", Reason.car_truncated),
        (b"\x7f" + ROOT, Reason.car_truncated),
    ],
)
def test_a_malformed_block_is_refused_with_its_reason(sections: bytes, reason: Reason) -> None:
    assert refused(HEADER + sections) is reason


def test_a_length_need_not_be_in_its_shortest_form() -> None:
    assert read_car(HEADER + b"\xa5\x80\x00" + ROOT + b"\xa0").blocks == {ROOT: b"\xa0"}


def test_extra_and_repeated_blocks_count_toward_the_limit() -> None:
    twice = ARCHIVE + section(ROOT, b"\xa0")
    assert read_car(twice, max_blocks=5).blocks == BLOCKS
    assert refused(twice, max_blocks=4) is Reason.car_too_many_blocks


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_no_input_crashes_the_reader(data: bytes, headed: bool) -> None:
    try:
        read_car(HEADER + data if headed else data)
    except CarError:
        return
