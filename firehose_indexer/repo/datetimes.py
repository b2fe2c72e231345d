"""Dates of records: the author's claim, read once, kept in UTC to the millisecond (spec/records §1.2)."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

_MAX_LENGTH = 64

_DATE = r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d+))?"
_read = re.compile(_DATE + r"(Z|[+-]\d\d:?\d\d)?", re.ASCII).fullmatch
# The spelling that nearly everyone uses. The library reads more than it may, and more with every version:
# it is only asked about text that has the very shape.
_usual = re.compile(r"\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):\d\d:[0-5]\d\.\d{3}Z", re.ASCII).fullmatch
_is_datetime = re.compile(_DATE + r"(?:Z|(?!-00:00)[+-]\d\d:\d\d)", re.ASCII).fullmatch


def is_datetime(text: str) -> bool:
    """The atproto datetime syntax: shape and offset, not whether the calendar has such a day."""
    return len(text) <= _MAX_LENGTH and _is_datetime(text) is not None


def parse(text: object) -> datetime | None:
    """A date in UTC, truncated to milliseconds, or None for what is not a valid one.

    Besides the atproto syntax two old spellings are tolerated: no offset (UTC), and an offset without colon.
    None for non-strings, more than 64 characters, ``-00:00``, a day or second that does not exist, and years
    outside 0001-9999 after conversion to UTC.
    """
    if type(text) is not str:
        return None
    if _usual(text):
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            return None
    return _any(text)


def _any(text: str) -> datetime | None:
    found = _read(text) if len(text) <= _MAX_LENGTH else None
    if found is None:
        return None
    year, month, day, hour, minute, second, fraction, offset = found.groups()
    if offset in {"-00:00", "-0000"}:
        return None
    micros = int((fraction or "0")[:3].ljust(3, "0")) * 1000
    try:
        zone = _zone(offset)
        local = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second), micros, zone)
        return local.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _zone(offset: str | None) -> timezone:
    if offset is None or offset == "Z":
        return UTC
    hours, minutes = int(offset[1:3]), int(offset[-2:])
    if hours > 23 or minutes > 59:
        raise ValueError("no such offset")
    away = timedelta(hours=hours, minutes=minutes)
    return timezone(-away if offset[0] == "-" else away)
