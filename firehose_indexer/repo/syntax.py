"""Identifiers: what is well-formed (spec/protocol §5.6, records §1.1). Nothing here is looked up or repaired.

Every check takes text and answers yes or no; lengths are characters, which for these alphabets are bytes.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from firehose_indexer.errors import CommitError, Reason

_DID = r"did:[a-z]+:[a-zA-Z0-9._:%-]*[a-zA-Z0-9._-]"
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_HANDLE = rf"(?:{_LABEL}\.)+[a-zA-Z](?:[a-zA-Z0-9-]{{0,61}}[a-zA-Z0-9])?"
_NSID = rf"[a-zA-Z](?:[a-zA-Z0-9-]{{0,61}}[a-zA-Z0-9])?(?:\.{_LABEL})+\.[a-zA-Z][a-zA-Z0-9]{{0,62}}"
_RKEY = r"(?!\.\.?(?:$|\#))[a-zA-Z0-9_~.:-]{1,512}"
_TID_DIGITS = "234567abcdefghijklmnopqrstuvwxyz"

_is_did = re.compile(_DID).fullmatch
_is_handle = re.compile(_HANDLE).fullmatch
_is_nsid = re.compile(_NSID).fullmatch
_is_rkey = re.compile(_RKEY).fullmatch
_is_tid = re.compile(r"[2-7a-j][2-7a-z]{12}").fullmatch
_is_at_uri = re.compile(
    rf"at://(?:({_DID})|({_HANDLE}))(?:/({_NSID})(?:/({_RKEY}))?)?(?:\#/[^\s\#]*)?"
).fullmatch
_record_uri = re.compile(rf"at://({_DID})/({_NSID})/({_RKEY})").fullmatch
# What nearly every reference on the network looks like, at half the price of the whole grammar.
_usual_uri = re.compile(
    r"at://(did:plc:[a-z2-7]{24})/(app\.bsky\.[a-z]{1,20}\.[a-z]{1,20})/([2-7a-j][2-7a-z]{12})"
).fullmatch
_usual_path = re.compile(r"(app\.bsky\.[a-z]{1,20}\.[a-z]{1,20})/([2-7a-j][2-7a-z]{12})").fullmatch
_new_tuple = tuple.__new__
_is_cid_text = re.compile(r"(?!Qm)[a-zA-Z0-9+=]{8,256}").fullmatch
_is_uri = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:[^\s]+", re.ASCII).fullmatch
# RFC 5646 §2.1 without the grandfathered list: primary subtag, then subtags of at most 8.
_is_language = re.compile(r"(?:[a-z]{2,3}|[iIxX])(?:-[a-zA-Z0-9]{1,8})*").fullmatch

MAX_DID = 2048
MAX_HANDLE = 253
MAX_NSID = 317
MAX_URI = 8192


class AtUri(NamedTuple):
    """A record's place: whose, of what kind, under which key."""

    did: str
    collection: str
    rkey: str


def is_did(text: str) -> bool:
    return len(text) <= MAX_DID and _is_did(text) is not None


def is_handle(text: str) -> bool:
    return len(text) <= MAX_HANDLE and _is_handle(text) is not None


def is_at_identifier(text: str) -> bool:
    """A DID or a handle."""
    return is_did(text) if text.startswith("did:") else is_handle(text)


def is_nsid(text: str) -> bool:
    return len(text) <= MAX_NSID and _is_nsid(text) is not None


def is_rkey(text: str) -> bool:
    return _is_rkey(text) is not None


def is_tid(text: str) -> bool:
    return _is_tid(text) is not None


def is_at_uri(text: str) -> bool:
    """Authority, or collection, or record; no query."""
    found = _is_at_uri(text) if len(text) <= MAX_URI else None
    return found is not None and _parts_fit(found)


def _parts_fit(found: re.Match[str]) -> bool:
    did, handle, nsid, _rkey = found.groups()
    return len(did or "") <= MAX_DID and len(handle or "") <= MAX_HANDLE and len(nsid or "") <= MAX_NSID


def record_uri(text: str) -> AtUri | None:
    """Parse the URI of a record, None for anything else: the authority must be a DID, nothing may follow the key."""
    found = _usual_uri(text)
    if found is not None:
        return _new_tuple(AtUri, found.groups())
    found = _record_uri(text) if len(text) <= MAX_URI else None
    if found is None:
        return None
    did, collection, rkey = found.groups()
    if len(did) > MAX_DID or len(collection) > MAX_NSID:
        return None
    return AtUri(did, collection, rkey)


def split_path(path: str) -> tuple[str, str]:
    """Collection and record key of a path in a repo. Raises CommitError op_path_invalid."""
    found = _usual_path(path)
    if found is not None:
        return found[1], found[2]
    collection, _, rkey = path.partition("/")
    if _is_nsid(collection) is None or len(collection) > MAX_NSID or _is_rkey(rkey) is None:
        raise CommitError(Reason.op_path_invalid, path[:200])
    return collection, rkey


_TID_BASE32 = str.maketrans(_TID_DIGITS, "0123456789abcdefghijklmnopqrstuv")


def tid_to_int(tid: str) -> int:
    """64 bits: a zero, 53 of microseconds since 1970, 10 of clock id. ``tid`` has passed ``is_tid``, which lets the
    first bit be one, as the syntax does.
    """
    return int(tid.translate(_TID_BASE32), 32)


def tid_from_int(number: int) -> str:
    """Inverse of ``tid_to_int``. Raises ValueError outside 0 … 2^64-1."""
    if not 0 <= number < 1 << 64:
        raise ValueError("a TID has 64 bits")
    return "".join(_TID_DIGITS[number >> shift & 31] for shift in range(60, -5, -5))


def is_cid_text(text: str) -> bool:
    """The lexicon's string format ``cid``: looser than what a commit may use, and never version 0."""
    return _is_cid_text(text) is not None


def is_language(text: str) -> bool:
    """Well-formed as a BCP 47 tag; says nothing about repeated subtags, see ``language_repeats``."""
    return _is_language(text) is not None


def language_repeats(text: str) -> bool:
    """A variant or an extension singleton occurs twice: well-formed, but not valid (RFC 5646 §2.2.9)."""
    seen: set[str] = set()
    extension = ""
    for subtag in text.lower().split("-")[1:]:
        if extension == "x":
            break
        if len(subtag) == 1:
            extension = subtag
        elif extension or not (len(subtag) > 4 or (len(subtag) == 4 and subtag[0].isdigit())):
            continue
        if subtag in seen:
            return True
        seen.add(subtag)
    return False


def is_uri(text: str) -> bool:
    return len(text) <= MAX_URI and _is_uri(text) is not None
