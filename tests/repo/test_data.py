from __future__ import annotations

import base64
import json
from typing import Any

import libipld
import pytest
from atproto import CAR
from hypothesis import given, settings
from hypothesis import strategies as st

from firehose_indexer.errors import Reason, RecordError
from firehose_indexer.repo.car import read_car
from firehose_indexer.repo.cbor import ByteString, encode, looks_like_cid, scan
from firehose_indexer.repo.data import cid_from_text, cid_of, cid_text, decode, from_json, is_blessed, to_json
from tests.repo.vectors import commits, load, records

CID = cid_of(b"linked")
LINK = b"\xd8\x2a\x58\x25\x00" + CID


def refused(block: bytes) -> Reason:
    """The reason, on which the fast way and the strict reader agree."""
    reasons = set()
    for read in (decode, scan):
        with pytest.raises(RecordError) as caught:
            read(block)
        reasons.add(caught.value.reason)
    (reason,) = reasons
    return reason


def test_fixtures_become_their_blocks_and_come_back() -> None:
    cases = load("data-model/data-model-fixtures.json")
    assert len(cases) == 3
    for case in cases:
        block = from_json(case["json"])
        assert base64.b64encode(block).decode().rstrip("=") == case["cbor_base64"]
        assert cid_text(cid_of(block)) == case["cid"]
        form = to_json(decode(block), block)
        assert json.loads(form.text) == case["json"]
        assert not form.lossy


def test_the_data_model_vectors_are_accepted_and_refused() -> None:
    good, bad = load("data-model/data-model-valid.json"), load("data-model/data-model-invalid.json")
    assert (len(good), len(bad)) == (5, 12)
    for case in good:
        assert decode(from_json(case["json"], strict=True)) == case["json"]
    for case in bad:
        with pytest.raises(RecordError):
            from_json(case["json"], strict=True)


def test_a_cid_has_a_text_and_back() -> None:
    raw = b"\x01\x55" + CID[2:]
    for cid, start in ((CID, "bafyrei"), (raw, "bafkrei")):
        text = cid_text(cid)
        assert text.startswith(start)
        assert text == "b" + base64.b32encode(cid).decode().lower().rstrip("=")
        assert cid_from_text(text) == cid
    assert is_blessed(CID)
    assert not any(is_blessed(other) for other in (raw, CID[:35], CID + b"\0", None, "x", ByteString(CID)))


@pytest.mark.parametrize(
    "text",
    ["", "undefined", "b", cid_text(CID)[:-1], cid_text(CID) + "a", cid_text(CID).upper(), cid_text(CID)[:-1] + "1",
     cid_text(CID)[:-1] + "!", "Qm" + "a" * 44, cid_text(CID)[:-1] + chr(ord(cid_text(CID)[-1]) + 1)],
)  # fmt: skip
def test_text_that_is_no_cid_of_ours_is_none(text: str) -> None:
    assert cid_from_text(text) is None


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        (b"", Reason.record_cbor_invalid),
        (b"\xa0\xa0", Reason.record_cbor_invalid),
        (b"\xa1\x61a", Reason.record_cbor_invalid),
        (b"\x18\x17", Reason.record_cbor_invalid),
        (b"\x19\x00\xff", Reason.record_cbor_invalid),
        (b"\x1a\x00\x00\xff\xff", Reason.record_cbor_invalid),
        (b"\x1b\x00\x00\x00\x00\xff\xff\xff\xff", Reason.record_cbor_invalid),
        (b"\x38\x00", Reason.record_cbor_invalid),
        (b"\x58\x01x", Reason.record_cbor_invalid),
        (b"\x98\x01\x00", Reason.record_cbor_invalid),
        (b"\xb8\x01\x61a\x00", Reason.record_cbor_invalid),
        (b"\x9f\xff", Reason.record_cbor_invalid),
        (b"\xbf\xff", Reason.record_cbor_invalid),
        (b"\x7f\xff", Reason.record_cbor_invalid),
        (b"\x1c", Reason.record_cbor_invalid),
        (b"\xf7", Reason.record_cbor_invalid),
        (b"\xe0", Reason.record_cbor_invalid),
        (b"\xf8\x20", Reason.record_cbor_invalid),
        (b"\xff", Reason.record_cbor_invalid),
        (b"\xa2\x61b\x00\x61a\x00", Reason.record_cbor_invalid),
        (b"\xa2\x62aa\x00\x61b\x00", Reason.record_cbor_invalid),
        (b"\xa2\x61a\x00\x61a\x00", Reason.record_cbor_invalid),
        (b"\xa1\x01\x00", Reason.record_cbor_invalid),
        (b"\xa1\x41a\x00", Reason.record_cbor_invalid),
        (b"\xc1\x00", Reason.record_cbor_invalid),
        (b"\xd8\x2b" + LINK[2:], Reason.record_cbor_invalid),
        (b"\xd9\x00\x2a" + LINK[2:], Reason.record_cbor_invalid),
        (b"\xd8\x2a\x58\x25\x01" + CID, Reason.record_cbor_invalid),
        (b"\xd8\x2a\x40", Reason.record_cbor_invalid),
        (b"\xd8\x2a\x61x", Reason.record_cbor_invalid),
        (b"\xd8\x2a\x45\x00\x01\x02\x03\x04", Reason.record_cbor_invalid),
        (b"\x5b\x7f" + b"\xff" * 7, Reason.record_cbor_invalid),
        (b"\x9b\x7f" + b"\xff" * 7, Reason.record_cbor_invalid),
        (b"\xbb" + b"\xff" * 8, Reason.record_cbor_invalid),
        (b"\xfb" + bytes(8), Reason.bad_float),
        (b"\xa1\x61a\x81\xfb\x3f\xf0" + bytes(6), Reason.bad_float),
        (b"\xfa" + bytes(4), Reason.bad_float),
        (b"\xf9" + bytes(2), Reason.bad_float),
        (b"\x61\xff", Reason.bad_utf8),
        (b"\x63\xed\xa0\x80", Reason.bad_utf8),
        (b"\xa1\x61\xff\x00", Reason.bad_utf8),
        (b"\x81" * 256 + b"\x80", Reason.record_too_deep),
        (b"\x81" * 256 + b"\x81\x00", Reason.record_too_deep),
        (b"\x81" * 500_000 + b"\x00", Reason.record_too_deep),
        (b"\xa1\x61a" * 300 + b"\x00", Reason.record_too_deep),
    ],
)
def test_a_block_that_is_not_strict_is_refused_with_its_reason(block: bytes, reason: Reason) -> None:
    assert refused(block) is reason


def test_256_levels_are_read_and_written() -> None:
    for block in (b"\x81" * 256 + b"\x00", b"\x81" * 255 + b"\x80", b"\xa1\x61a" * 256 + b"\x00"):
        value = decode(block)
        assert scan(block) == value
        assert encode(value) == block
        assert json.loads(to_json(value, block).text) == value


def test_integers_of_any_size_are_exact() -> None:
    for number in (0, 23, 24, 255, 256, 2**53 + 1, 2**63, 2**64 - 1, -1, -24, -25, -(2**63) - 1, -(2**64)):
        block = from_json({"n": number})
        assert decode(block) == scan(block) == {"n": number}
        assert json.loads(to_json(decode(block), block).text) == {"n": number}
    with pytest.raises(RecordError):
        from_json({"n": 2**64})


def test_links_and_byte_strings_are_told_apart_by_their_encoding() -> None:
    block = from_json({"link": {"$link": cid_text(CID)}, "bytes": {"$bytes": base64.b64encode(CID).decode()}})
    assert block == b"\xa2\x64link" + LINK + b"\x65bytes\x58\x24" + CID
    value: Any = decode(block)
    assert value == {"link": CID, "bytes": CID}
    assert type(value["link"]) is bytes
    assert type(value["bytes"]) is ByteString
    form = to_json(value, block)
    assert not form.lossy
    assert json.loads(form.text) == {
        "link": {"$link": cid_text(CID)},
        "bytes": {"$bytes": base64.b64encode(CID).decode().rstrip("=")},
    }
    part = {"bytes": value["bytes"]}
    assert json.loads(to_json(part, block).text) == {"bytes": json.loads(form.text)["bytes"]}


def test_links_of_other_kinds_are_data() -> None:
    version_0 = b"\x12\x20" + CID[4:]
    identity = b"\x01\x55\x00\x02hi"
    for cid in (version_0, identity):
        block = libipld.encode_dag_cbor({"a": cid})
        form = to_json(decode(block), block)
        assert not form.lossy
        assert from_json(json.loads(form.text)) == block


def test_a_link_that_its_text_does_not_give_back_is_lossy() -> None:
    block = b"\xa1\x61a\xd8\x2a\x58\x26\x00" + CID + b"x"
    assert to_json(decode(block), block).lossy


@pytest.mark.parametrize(
    ("text", "written", "lossy"),
    [("a\0b", "a\x1ab", True), ("\0", "\x1a", True), ("\\\0", "\\\x1a", True), ("\\u0000", "\\u0000", False),
     ("\\\\u0000", "\\\\u0000", False), ("\\u0000\0", "\\u0000\x1a", True), ("\x1a", "\x1a", False)],
)  # fmt: skip
def test_nul_becomes_substitute_and_nothing_else_does(text: str, written: str, lossy: bool) -> None:
    for value in ({"t": text}, {"l": [{"t": text}]}):
        block = encode(value)
        form = to_json(decode(block), block)
        assert form.lossy is lossy
        assert "\\u0000" not in form.text.replace("\\\\", "")
        assert json.loads(form.text) == json.loads(
            json.dumps(value).replace(json.dumps(text), json.dumps(written))
        )


def test_nul_in_a_key_is_replaced_too() -> None:
    block = encode({"a\0": 1})
    assert to_json(decode(block), block) == ('{"a\\u001a":1}', True)


@pytest.mark.parametrize("key", ["$link", "$bytes"])
def test_a_literal_key_of_the_json_form_is_lossy(key: str) -> None:
    for value in ({key: "text"}, {"a": [{"b": {key: 1}}]}):
        block = encode(value)
        assert to_json(decode(block), block).lossy
    innocent = encode({"a": key})
    assert not to_json(decode(innocent), innocent).lossy


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([], Reason.record_not_map),
        ({"a": 1.5}, Reason.bad_float),
        ({"a": float("inf")}, Reason.bad_float),
        ({"a": float("nan")}, Reason.bad_float),
        ({"a": {"$bytes": "!"}}, Reason.bad_field),
        ({"a": {"$bytes": "A"}}, Reason.bad_field),
        ({"a": {"$link": "bafy"}}, Reason.bad_field),
        ({"a": "\ud800"}, Reason.bad_utf8),
    ],
)
def test_json_that_no_block_can_hold_is_refused(value: object, reason: Reason) -> None:
    with pytest.raises(RecordError) as caught:
        from_json(value)
    assert caught.value.reason is reason


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64 - 1)
    | st.text(max_size=20)
    | st.binary(max_size=50).map(lambda b: ByteString(b) if looks_like_cid(b) else b)
    | st.binary(min_size=32, max_size=32).flatmap(
        lambda digest: st.sampled_from(
            [
                b"\x01\x71\x12\x20" + digest,
                b"\x01\x55\x12\x20" + digest,
                ByteString(b"\x01\x71\x12\x20" + digest),
            ]
        )
    )
)
VALUES = st.recursive(
    SCALARS,
    lambda v: st.lists(v, max_size=4) | st.dictionaries(st.text(max_size=8), v, max_size=4),
    max_leaves=15,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.text(max_size=8), VALUES, max_size=5))
def test_every_value_makes_the_round_trip(value: dict[str, Any]) -> None:
    block = encode(value)
    assert decode(block) == scan(block) == value
    assert encode(decode(block)) == encode(scan(block)) == block
    form = to_json(decode(block), block)
    assert form.lossy or from_json(json.loads(form.text)) == block


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.text(max_size=8), VALUES, max_size=5), st.data())
def test_a_changed_block_is_refused_or_another_value(value: dict[str, Any], data: st.DataObject) -> None:
    block = bytearray(encode(value))
    at = data.draw(st.integers(0, len(block) - 1))
    block[at] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found = decode(bytes(block))
    except RecordError:
        with pytest.raises(RecordError):
            scan(bytes(block))
        return
    assert scan(bytes(block)) == found
    assert encode(found) == block


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60))
def test_no_bytes_crash_the_reader(block: bytes) -> None:
    try:
        assert encode(decode(block)) == block
    except RecordError:
        return


def test_every_recorded_record_makes_the_round_trip() -> None:
    lossy = 0
    for block in records():
        value = decode(block)
        assert encode(value) == block
        form = to_json(value, block)
        if form.lossy:
            lossy += 1
        else:
            assert from_json(json.loads(form.text)) == block
    assert len(records()) == 1_653
    assert lossy == 1


def test_recorded_blocks_equal_those_of_the_sdk() -> None:
    compared = 0
    for commit in commits()[::10]:
        ours = read_car(commit["blocks"])
        theirs = CAR.from_bytes(commit["blocks"]).blocks
        assert {cid_text(cid): decode(ours.block(cid)) for cid in ours.blocks} == {
            cid.encode(): value for cid, value in theirs.items()
        }
        compared += len(theirs)
    assert compared > 600
