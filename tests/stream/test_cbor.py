from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from libipld import encode_dag_cbor

from firehose_indexer.stream.cbor import MAX_DEPTH, CborError, cbor_end, decode_item

REFUSED = {
    "truncated": "a1",
    "nothing": "",
    "long int": "1817",
    "long int in 8": "1b00000000ffffffff",
    "long length": "7800",
    "indefinite": "9fff",
    "reserved": "1c",
    "float16": "f93c00",
    "float32": "fa3f800000",
    "float64": "fb3ff8000000000000",
    "undefined": "f7",
    "simple": "f820",
    "other tag": "c101",
    "long tag": "d9002a420001",
    "tag 42 on text": "d82a6100",
    "tag 42 without zero": "d82a4101",
    "int key": "a10101",
    "key twice": "a2616101616102",
    "not utf-8": "62c328",
    "huge array": "9b00ffffffffffffff",
    "huge map": "bb00ffffffffffffff",
    "huge bytes": "5b00ffffffffffffff",
}


@pytest.mark.parametrize("name", REFUSED)
def test_everything_outside_the_strict_form_is_refused(name):
    with pytest.raises(CborError):
        decode_item(bytes.fromhex(REFUSED[name]))


def test_map_keys_may_come_in_any_order():
    assert decode_item(bytes.fromhex("a2616202616101")) == ({"b": 2, "a": 1}, 7)


def test_a_link_is_its_binary_cid():
    cid = b"\x01\x71\x12\x20" + b"\x07" * 32
    assert decode_item(encode_dag_cbor({"x": cid}))[0] == {"x": cid}


def test_nesting_is_bounded_at_sixteen():
    decode_item(b"\x81" * MAX_DEPTH + b"\x00")
    with pytest.raises(CborError, match="deep"):
        decode_item(b"\x81" * (MAX_DEPTH + 1) + b"\x00")
    with pytest.raises(CborError, match="deep"):
        decode_item(b"\x81" * 1_000_000)


def test_the_number_of_items_is_bounded():
    with pytest.raises(CborError, match="too many"):
        decode_item(b"\x9a\x00\x04\x00\x00" + b"\x00" * 0x40000)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.text(max_size=9)
    | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES, st.binary(max_size=4), st.binary(max_size=4))
def test_what_the_encoder_writes_is_read_back_with_its_end(value, before, after):
    try:
        data = encode_dag_cbor(value)
    except ValueError:
        return
    read, end = decode_item(before + data + after, len(before))
    assert read == value
    assert end == len(before) + len(data) == cbor_end(before + data + after, len(before))
