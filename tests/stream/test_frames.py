from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from libipld import encode_dag_cbor

from firehose_indexer.errors import FrameError, Reason
from firehose_indexer.stream import frames
from firehose_indexer.stream.events import (
    Account,
    Commit,
    ErrorFrame,
    Identity,
    Ignored,
    Info,
    Malformed,
    RepoOp,
    Sync,
)
from firehose_indexer.stream.frames import MAX_FRAME, parse
from firehose_indexer.stream.recording import read_frames
from tests.stream.stream_wire import CID, DEVNET, OTHER_CID, TIME, commit_body, error_frame, frame, identity

RECORDED = list(read_frames(DEVNET / "devnet-small.frames.zst"))
HEADER = encode_dag_cbor({"op": 1, "t": "#identity"})
BODY = encode_dag_cbor({"seq": 5, "did": "did:plc:abc", "time": TIME})


def header(**fields):
    return encode_dag_cbor(fields)


POISON = {
    "text message": ("hello", Reason.frame_text),
    "empty": (b"", Reason.frame_empty),
    "too big": (b"\x00" * (MAX_FRAME + 1), Reason.frame_too_big),
    "header not a map": (b"\x81\x01" + BODY, Reason.frame_header_invalid),
    "header cut": (b"\xa2\x61t", Reason.frame_header_invalid),
    "header without op": (header(t="#identity") + BODY, Reason.frame_header_invalid),
    "op is text": (header(op="1", t="#identity") + BODY, Reason.frame_header_invalid),
    "op is bool": (header(op=True, t="#identity") + BODY, Reason.frame_header_invalid),
    "t is int": (header(op=1, t=4) + BODY, Reason.frame_header_invalid),
    "no t": (header(op=1) + BODY, Reason.frame_header_invalid),
    "header in long form": (b"\xa2\x61t\x69#identity\x62op\x18\x01" + BODY, Reason.frame_header_invalid),
    "no payload": (HEADER, Reason.frame_payload_invalid),
    "payload cut": (HEADER + BODY[:-1], Reason.frame_payload_invalid),
    "payload a list": (HEADER + b"\x80", Reason.frame_payload_invalid),
    "payload of field names": (HEADER + encode_dag_cbor(["seq"]), Reason.frame_payload_invalid),
    "payload with a float": (identity(5, x=1.5), Reason.frame_payload_invalid),
    "payload too deep": (identity(5, x=[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]), Reason.frame_payload_invalid),
    "deep in blobs": (
        frame("#commit", **commit_body(blobs=[[[[[[[[[[[[[[[[[CID]]]]]]]]]]]]]]]]])),
        Reason.frame_payload_invalid,
    ),
    "float in blobs": (frame("#commit", **commit_body(blobs=[1.5])), Reason.frame_payload_invalid),
    "payload in long form": (
        HEADER + BODY.replace(b"\x63seq\x05", b"\x63seq\x18\x05"),
        Reason.frame_payload_invalid,
    ),
    "trailing": (HEADER + BODY + b"\x00", Reason.frame_trailing),
    "trailing after an unknown type": (frame("#new", a=1) + b"\xa0", Reason.frame_trailing),
    "no seq": (frame("#identity", did="did:plc:abc", time=TIME), Reason.seq_invalid),
    "seq is text": (identity("5"), Reason.seq_invalid),
    "seq is bool": (identity(True), Reason.seq_invalid),
    "seq is zero": (identity(0), Reason.seq_invalid),
    "seq is 2^53": (identity(2**53), Reason.seq_invalid),
    "error payload not a map": (header(op=-1) + b"\x80", Reason.frame_payload_invalid),
    "error without error": (header(op=-1) + encode_dag_cbor({"name": "X"}), Reason.frame_payload_invalid),
    "info without name": (frame("#info", message="m"), Reason.frame_payload_invalid),
}


@pytest.mark.parametrize("name", POISON)
def test_poison_has_its_reason(name):
    message, reason = POISON[name]
    with pytest.raises(FrameError) as refused:
        parse(message)
    assert refused.value.reason is reason
    assert (refused.value.field == "error") == name.startswith("error")


@pytest.mark.parametrize(
    ("message", "seq", "reason"),
    [
        (header(op=2) + BODY, 5, Reason.frame_op_unknown),
        (header(op=0, t="#commit") + b"\x80", None, Reason.frame_op_unknown),
        (frame("#tombstone", seq=9), 9, Reason.frame_type_unknown),
        (frame("#handle", seq=2**53), None, Reason.frame_type_unknown),
        (frame("com.example.other#commit", seq=9), 9, Reason.frame_type_unknown),
        (frame("identity", seq=9), 9, Reason.frame_type_unknown),
    ],
)
def test_the_unknown_is_ignored_with_the_seq_it_has(message, seq, reason):
    assert parse(message) == Ignored(seq, reason)


def test_the_longest_legal_seq_and_the_largest_legal_frame():
    assert parse(identity(2**53 - 1)).seq == 2**53 - 1
    padding = MAX_FRAME - len(frame("#commit", **commit_body(blocks=b"\x3a" * 70_000))) + 70_000
    message = frame("#commit", **commit_body(blocks=b"\x3a" * padding))
    assert len(message) == MAX_FRAME
    assert len(parse(message).blocks) == padding


def test_every_kind_becomes_its_type():
    message = frame("#commit", **commit_body())
    assert parse(message) == Commit(
        7,
        "did:plc:abc",
        "3kabcdefghij2",
        None,
        CID,
        b"\x3a\xa2",
        [RepoOp("create", "a.b.c/d", CID, None)],
        OTHER_CID,
        TIME,
        False,
        message,
    )
    message = frame("#sync", seq=1, did="d", rev="r", blocks=b"b", time=TIME)
    assert parse(message) == Sync(1, "d", "r", b"b", TIME, message)
    message = identity(3, handle="a.test")
    assert parse(message) == Identity(3, "did:plc:abc", TIME, "a.test", message)
    message = frame("#account", seq=1, did="d", time=TIME, active=False, status="new")
    assert parse(message) == Account(1, "d", TIME, False, "new", message)
    assert parse(frame("#info", name="OutdatedCursor")) == Info("OutdatedCursor", "")
    assert parse(error_frame("FutureCursor", "m")) == ErrorFrame("FutureCursor", "m")
    assert parse(header(op=-1) + encode_dag_cbor({"error": "X"})) == ErrorFrame("X", "")


def test_the_long_name_of_a_type_is_the_type():
    body = {"seq": 5, "did": "did:plc:abc", "time": TIME}
    assert isinstance(parse(frame("com.atproto.sync.subscribeRepos#identity", **body)), Identity)


def test_keys_out_of_order_and_unknown_fields_are_legal():
    ordered = identity(5)
    message = b"\xa2\x62op\x01\x61t\x69#identity" + BODY
    assert parse(message) == parse(ordered)._replace(frame=message)
    assert parse(identity(5, x=[{"y": 2**60}])).seq == 5
    odd = frame("#commit", **commit_body(ops=[{"action": "x", "path": "", "cid": None, "new": [1]}]))
    assert parse(odd).ops == [RepoOp("x", "", None, None)]


def test_a_byte_string_that_looks_like_a_link_is_read_as_it_is():
    for blocks in (CID, b"\x01\x71\x12\x20", b"\x00" + CID):
        body = encode_dag_cbor(commit_body(blocks=b"?"))
        message = encode_dag_cbor({"op": 1, "t": "#commit"}) + body.replace(
            b"\x66blocks\x41?",
            b"\x66blocks" + (b"\x58" + bytes([len(blocks)]) if len(blocks) > 23 else b"\x44") + blocks,
        )
        assert parse(message).blocks == blocks


def test_what_is_deprecated_or_optional_may_be_absent_or_null():
    bare = commit_body(tooBig=..., rebase=..., blobs=..., prevData=...)
    assert parse(frame("#commit", **bare)).prev_data is None
    assert parse(frame("#commit", **commit_body(prevData=None, blobs=None))).prev_data is None
    assert parse(identity(5, handle=None)).handle is None
    bare = parse(frame("#commit", **commit_body(tooBig=True, blocks=..., ops=...)))
    assert (bare.blocks, bare.ops, bare.too_big) == (b"", [], True)


def op(**more):
    made = {"action": "create", "path": "a/b", "cid": CID} | more
    return {"ops": [{name: value for name, value in made.items() if value is not ...}]}


@pytest.mark.parametrize(
    ("more", "field"),
    [
        *(({name: ...}, name) for name in ("repo", "commit", "rev", "since", "blocks", "ops", "time")),
        *(({name: 5}, name) for name in commit_body() if name not in ("seq", "blobs")),
        ({"commit": "bafy"}, "commit"),
        ({"commit": CID[:-1]}, "commit"),
        ({"prevData": CID + b"\0"}, "prevData"),
        ({"ops": {}}, "ops"),
        ({"ops": [4]}, "ops"),
        ({"ops": ["action"]}, "ops"),
        (op(action=1), "ops.action"),
        (op(path=None), "ops.path"),
        (op(cid=...), "ops.cid"),
        (op(cid="x"), "ops.cid"),
        (op(prev=b"short"), "ops.prev"),
    ],
)
def test_a_wrong_field_of_a_commit_is_named_and_keeps_its_seq(more, field):
    message = frame("#commit", **commit_body(**more))
    assert parse(message) == Malformed(7, Reason.commit_fields_invalid, field, message)


@pytest.mark.parametrize(
    ("kind", "body", "reason"),
    [
        ("#sync", {"did": "d", "rev": "r", "time": TIME}, Reason.sync_fields_invalid),
        ("#identity", {"did": 5, "time": TIME}, Reason.identity_fields_invalid),
        ("#account", {"did": "d", "time": TIME, "active": 1}, Reason.account_fields_invalid),
    ],
)
def test_a_wrong_field_of_the_others_too(kind, body, reason):
    assert parse(frame(kind, seq=4, **body)).reason is reason


def test_recorded_frames_are_all_ordinary_and_both_ways_agree():
    assert len(RECORDED) == 2186
    for message in RECORDED:
        fast = frames._ordinary(message)
        assert fast is not None
        assert fast == frames._exact(message)


def test_recorded_frames_read_as_the_sdk_reads_them():
    from atproto import firehose_models, parse_subscribe_repos_message

    kinds = {Commit: "Commit", Sync: "Sync", Identity: "Identity", Account: "Account"}
    for message in RECORDED:
        ours = parse(message)
        theirs = parse_subscribe_repos_message(firehose_models.Frame.from_bytes(message))
        assert type(theirs).__name__ == kinds[type(ours)]
        assert (ours.seq, ours.time) == (theirs.seq, theirs.time)
        if isinstance(ours, Commit):
            assert (ours.did, ours.rev, ours.since) == (theirs.repo, theirs.rev, theirs.since)
            assert (ours.blocks, ours.too_big) == (theirs.blocks, theirs.too_big)
            assert [(o.action, o.path, o.cid, o.prev) for o in ours.ops] == [
                (o.action, o.path, raw(o.cid), raw(o.prev)) for o in theirs.ops
            ]
            assert (ours.commit, ours.prev_data) == (raw(theirs.commit), raw(theirs.prev_data))
        else:
            assert ours.did == theirs.did
        if isinstance(ours, Account):
            assert (ours.active, ours.status) == (theirs.active, theirs.status)
        if isinstance(ours, Identity):
            assert ours.handle == theirs.handle


def raw(link):
    """A link of the SDK as bytes; it is a CID object or bytes, by version."""
    from atproto import CID as LINK

    if link is None or isinstance(link, bytes):
        return link
    text = link if isinstance(link, str) else str(link)
    decoded = LINK.decode(text)
    return b"\x01\x71\x12\x20" + decoded.hash.digest


SMALL = sorted((f for f in RECORDED if len(f) < 3000), key=len)[::40]


def outcome(message):
    try:
        return parse(message)
    except FrameError as error:
        return Reason(error.reason)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(SMALL), st.data())
def test_mutated_frames_end_in_a_message_or_a_reason(message, data):
    changed = bytearray(message)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(changed) - 1))
        changed[at] = data.draw(st.integers(0, 255))
    outcome(bytes(changed))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(SMALL), st.data())
def test_a_frame_cut_anywhere_is_poison(message, data):
    assert isinstance(outcome(message[: data.draw(st.integers(0, len(message) - 1))]), Reason)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_noise_ends_in_a_message_or_a_reason(noise):
    outcome(noise)
    outcome(HEADER + noise)


@pytest.mark.parametrize("opening", [b"\x81", b"\xa1\x61a", b"\xd8\x2a"])
def test_endless_nesting_is_refused_before_it_costs(opening):
    assert outcome(HEADER + opening * (MAX_FRAME // 3 // len(opening))) is Reason.frame_payload_invalid
    assert outcome(opening * 100_000) is Reason.frame_header_invalid
