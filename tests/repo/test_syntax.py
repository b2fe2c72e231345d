from __future__ import annotations

from collections.abc import Callable

import pytest

from firehose_indexer.errors import CommitError, Reason
from firehose_indexer.repo import syntax
from firehose_indexer.repo.syntax import AtUri, record_uri, split_path, tid_from_int, tid_to_int
from tests.repo.vectors import lines


@pytest.mark.parametrize(
    ("name", "check", "valid", "invalid"),
    [
        ("did", syntax.is_did, 24, 18),
        ("handle", syntax.is_handle, 71, 48),
        ("nsid", syntax.is_nsid, 25, 27),
        ("recordkey", syntax.is_rkey, 16, 11),
        ("tid", syntax.is_tid, 4, 9),
        ("aturi", syntax.is_at_uri, 23, 72),
        ("atidentifier", syntax.is_at_identifier, 11, 22),
        ("cid", syntax.is_cid_text, 8, 10),
        ("language", syntax.is_language, 18, 7),
        ("uri", syntax.is_uri, 9, 12),
    ],
)
def test_the_vectors_of_an_identifier_are_accepted_and_refused(
    name: str, check: Callable[[str], bool], valid: int, invalid: int
) -> None:
    good, bad = lines(f"syntax/{name}_syntax_valid.txt"), lines(f"syntax/{name}_syntax_invalid.txt")
    assert (len(good), len(bad)) == (valid, invalid)
    assert [text for text in good if not check(text)] == []
    assert [text for text in bad if check(text)] == []
    assert [text for text in good if check(text + "\n")] == []


def test_handles_are_valid_in_either_case() -> None:
    for text in lines("syntax/handle_syntax_valid.txt"):
        assert syntax.is_handle(text.upper())
        assert syntax.is_handle(text.lower())


def test_language_tags_that_repeat_a_subtag_are_told() -> None:
    bad = lines("syntax/language_parse_invalid.txt")
    assert len(bad) == 4
    assert all(syntax.is_language(text) and syntax.language_repeats(text) for text in bad)
    assert not any(syntax.language_repeats(text) for text in lines("syntax/language_syntax_valid.txt"))
    assert not syntax.language_repeats("en-x-foo-foo")


def test_a_tid_is_a_number_and_back() -> None:
    for text in lines("syntax/tid_syntax_valid.txt"):
        assert tid_from_int(tid_to_int(text)) == text
    for number in (0, 1, 31, 32, 2**63 - 1, 2**64 - 1):
        assert tid_to_int(tid_from_int(number)) == number
        assert syntax.is_tid(tid_from_int(number))
    assert tid_from_int(0) == "2222222222222"
    assert tid_from_int(2**63 - 1) == "bzzzzzzzzzzzz"
    assert tid_from_int(2**64 - 1) == "jzzzzzzzzzzzz"
    for number in (-1, 2**64):
        with pytest.raises(ValueError):
            tid_from_int(number)


def test_lengths_have_their_limits() -> None:
    assert syntax.is_did("did:plc:" + "a" * 2040)
    assert not syntax.is_did("did:plc:" + "a" * 2041)
    assert syntax.is_rkey("a" * 512)
    assert not syntax.is_rkey("a" * 513)
    assert record_uri("at://did:plc:" + "a" * 2041 + "/com.example.thing/a") is None
    assert record_uri("at://did:plc:" + "a" * 2040 + "/com.example.thing/a") is not None
    assert not syntax.is_at_uri("at://did:plc:" + "a" * 2041)
    assert not syntax.is_uri("https://" + "x" * 8185)


def test_a_path_is_a_collection_and_a_key() -> None:
    assert split_path("app.bsky.feed.post/3kxyz") == ("app.bsky.feed.post", "3kxyz")
    assert split_path("com.example.thing/~a:b_") == ("com.example.thing", "~a:b_")


@pytest.mark.parametrize(
    "path",
    ["", "/", "app.bsky.feed.post", "app.bsky.feed.post/", "/3kxyz", "app.bsky.feed.post/a/b", "app.bsky/a",
     "app.bsky.feed.post/.", "app.bsky.feed.post/..", "com.example.thing/Ünï", "app.bsky.feed.post/a\n",
     "app.bsky.feed.post/a b", "app.bsky.feed.post/" + "a" * 513],
)  # fmt: skip
def test_a_path_of_another_shape_is_invalid(path: str) -> None:
    with pytest.raises(CommitError) as caught:
        split_path(path)
    assert caught.value.reason is Reason.op_path_invalid


def test_a_record_uri_is_three_parts() -> None:
    found = record_uri("at://did:web:example.com%3A80/app.bsky.feed.post/3k~:.")
    assert found == AtUri("did:web:example.com%3A80", "app.bsky.feed.post", "3k~:.")


@pytest.mark.parametrize(
    "text",
    ["", "at://did:plc:abc", "at://did:plc:abc/app.bsky.feed.post", "at://did:plc:abc/app.bsky.feed.post/",
     "at://did:plc:abc/app.bsky.feed.post/a/", "at://did:plc:abc/app.bsky.feed.post/a?x=1",
     "at://did:plc:abc/app.bsky.feed.post/a#/x", "at://alice.test/app.bsky.feed.post/a",
     "AT://did:plc:abc/app.bsky.feed.post/a", "at://did:plc:abc/app.bsky.feed.post/a\n",
     " at://did:plc:abc/app.bsky.feed.post/a", "at://did:plc:abc/app.bsky.feed.post/.",
     "at://did:plc:abc/app.bsky.feed.post/..", "https://did:plc:abc/app.bsky.feed.post/a"],
)  # fmt: skip
def test_anything_else_is_no_record_uri(text: str) -> None:
    assert record_uri(text) is None


def test_every_valid_at_uri_of_a_record_with_a_did_parses() -> None:
    whole = [
        text for text in lines("syntax/aturi_syntax_valid.txt") if text.count("/") == 4 and "did:" in text
    ]
    assert len(whole) == 15
    for text in whole:
        found = record_uri(text)
        assert found is not None
        assert f"at://{found.did}/{found.collection}/{found.rkey}" == text
    assert not any(record_uri(text) for text in lines("syntax/aturi_syntax_invalid.txt"))
