"""What can happen in the simulated network: decisions, before anything is signed or sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple


class Ref(NamedTuple):
    """A record that others can point at: at-uri and CID (36 bytes)."""

    uri: str
    cid: bytes


class Write(NamedTuple):
    """One record operation. ``block`` is the record's DAG-CBOR, None for a delete."""

    action: str
    path: str
    block: bytes | None


@dataclass(frozen=True, slots=True)
class Join:
    """An account is created: #identity, #account, #commit without ops, #sync."""

    time: int
    who: int
    frames: ClassVar[int] = 4


@dataclass(frozen=True, slots=True)
class Change:
    """One commit."""

    time: int
    who: int
    writes: tuple[Write, ...]
    frames: ClassVar[int] = 1


@dataclass(frozen=True, slots=True)
class Rename:
    """A new handle: #identity."""

    time: int
    who: int
    handle: str
    frames: ClassVar[int] = 1


@dataclass(frozen=True, slots=True)
class Leave:
    """The account stops being active: #account with a status."""

    time: int
    who: int
    status: str
    frames: ClassVar[int] = 1


@dataclass(frozen=True, slots=True)
class Return:
    """The account is active again: #account, #identity, #sync."""

    time: int
    who: int
    frames: ClassVar[int] = 3


@dataclass(frozen=True, slots=True)
class Resync:
    """A #sync that says what is known already."""

    time: int
    who: int
    frames: ClassVar[int] = 1


Act = Join | Change | Rename | Leave | Return | Resync
"""``time`` in µs, ``who`` the account's number, ``frames`` how many events it becomes."""
