"""Identifiers and dates as the specifications put them (records §1.1, §1.2; protocol §5.6), written a second time."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

LETTERS_AND_DIGITS = "234567abcdefghijklmnopqrstuvwxyz"


class Uri(NamedTuple):
    did: str
    collection: str
    rkey: str

    def __str__(self) -> str:
        return f"at://{self.did}/{self.collection}/{self.rkey}"


def is_did(value: object) -> bool:
    if not isinstance(value, str) or len(value) > 2048:
        return False
    word, _, rest = value.partition(":")
    method, colon, name = rest.partition(":")
    shape = word == "did" and bool(colon) and re.fullmatch("[a-z]+", method)
    return bool(shape and re.fullmatch("[a-zA-Z0-9._:%-]+", name) and name[-1] not in ":%")


def is_nsid(value: str) -> bool:
    segments = value.split(".")
    if len(value) > 317 or len(segments) < 3 or not all(1 <= len(s) <= 63 for s in segments):
        return False
    if not re.fullmatch("[a-zA-Z][a-zA-Z0-9]*", segments[-1]) or not segments[0][0].isalpha():
        return False
    return all(
        re.fullmatch("[a-zA-Z0-9-]+", s) and s[0] != "-" and s[-1] != "-" and s.isascii()
        for s in segments[:-1]
    )


def is_rkey(value: str) -> bool:
    return value not in (".", "..") and bool(re.fullmatch("[A-Za-z0-9.:_~-]{1,512}", value))


def is_tid(value: str) -> bool:
    return (
        len(value) == 13
        and all(c in LETTERS_AND_DIGITS for c in value)
        and value[0] in LETTERS_AND_DIGITS[:16]
    )


def tid_of(moment: datetime) -> str:
    number = int(moment.timestamp() * 1_000_000) << 10
    return "".join(LETTERS_AND_DIGITS[number >> shift & 31] for shift in range(60, -5, -5))


def uri(value: object) -> Uri | None:
    """The record a strong reference points at."""
    found = value.get("uri") if isinstance(value, dict) else None
    if not isinstance(found, str) or len(found) > 8192 or not found.startswith("at://"):
        return None
    parts = found[5:].split("/")
    if len(parts) != 3 or not (is_did(parts[0]) and is_nsid(parts[1]) and is_rkey(parts[2])):
        return None
    return Uri(*parts)


def date(value: object) -> datetime | None:
    """UTC, truncated to milliseconds."""
    if not isinstance(value, str) or len(value) > 64:
        return None
    shape = r"(\d{4}-\d\d-\d\dT\d\d:\d\d:)(\d\d)(\.\d+)?(Z|[+-]\d\d:?\d\d|)"
    found = re.fullmatch(shape, value, re.ASCII)
    if found is None or found[4].replace(":", "") == "-0000":
        return None
    try:
        moment = datetime.strptime(found[1] + found[2], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
        thousandths = int((found[3] or ".")[1:4].ljust(3, "0"))
        moment += timedelta(milliseconds=thousandths)
        if len(found[4]) > 1:
            hours, minutes = int(found[4][1:3]), int(found[4][-2:])
            if hours > 23 or minutes > 59:
                return None
            away = timedelta(hours=hours, minutes=minutes)
            moment = moment - away if found[4][0] == "+" else moment + away
    except (ValueError, OverflowError):
        return None
    return moment
