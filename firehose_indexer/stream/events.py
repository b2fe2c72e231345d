"""What a stream delivers: one type per message, and the two things that are not messages.

Every item has been through the shape rules of spec/protocol §1 and §2. CIDs are 36 binary bytes.
``frame`` is the message as received: what quarantine keeps.
"""

from __future__ import annotations

from typing import NamedTuple

from firehose_indexer.errors import Reason


class RepoOp(NamedTuple):
    """One entry of ``ops``, not yet judged: action and path are whatever text came."""

    action: str
    path: str
    cid: bytes | None
    prev: bytes | None


class Commit(NamedTuple):
    """``#commit`` (spec/protocol §2.1)."""

    seq: int
    did: str
    rev: str
    since: str | None
    commit: bytes
    blocks: bytes
    ops: list[RepoOp]
    prev_data: bytes | None
    time: str
    too_big: bool
    frame: bytes


class Sync(NamedTuple):
    """``#sync`` (spec/protocol §2.2)."""

    seq: int
    did: str
    rev: str
    blocks: bytes
    time: str
    frame: bytes


class Identity(NamedTuple):
    """``#identity`` (spec/protocol §2.3). ``handle`` is hearsay."""

    seq: int
    did: str
    time: str
    handle: str | None
    frame: bytes


class Account(NamedTuple):
    """``#account`` (spec/protocol §2.4). ``status`` may be a value nobody knows yet."""

    seq: int
    did: str
    time: str
    active: bool
    status: str | None
    frame: bytes


class Malformed(NamedTuple):
    """A message whose body breaks its shape but whose seq is readable: quarantined, seq advances."""

    seq: int
    reason: Reason
    detail: str
    frame: bytes


class Ignored(NamedTuple):
    """An unknown op or type with nothing to do; ``seq`` advances the cursor when there is one."""

    seq: int | None
    reason: Reason


class Info(NamedTuple):
    """``#info`` (spec/protocol §2.5). Has no seq."""

    name: str
    message: str


class ErrorFrame(NamedTuple):
    """A frame with ``op`` −1. It ends the connection."""

    error: str
    message: str


class Poison(NamedTuple):
    """A message that cannot be read at all (spec/protocol §1).

    ``body`` holds at most 64 KiB when the message was over the limit, ``size`` its full length.
    ``after_seq`` is the last good seq of the source.
    """

    reason: Reason
    detail: str
    body: bytes
    size: int
    after_seq: int | None


class Gap(NamedTuple):
    """A hole in what we were entitled to (spec/protocol §3.4)."""

    kind: str
    from_seq: int | None
    to_seq: int | None
    from_time: str | None
    to_time: str | None
    note: str


Event = Commit | Sync | Identity | Account
Message = Event | Malformed | Ignored | Info | ErrorFrame
Item = Event | Malformed | Ignored | Poison | Gap
"""What the pipeline takes: events in seq order, and the losses that must be written down."""
