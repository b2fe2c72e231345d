"""How an attempt to stream ends, named from closed sets (spec/protocol §4). Pure."""

from __future__ import annotations

import json
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from datetime import datetime

LONGEST_RETRY_AFTER: Final = 3600.0
ERROR_REASONS: Final = {"FutureCursor": "future_cursor", "ConsumerTooSlow": "consumer_too_slow"}
REFUSED_FOR_GOOD: Final = frozenset((401, 403, 404, 405, 426, 501))
"""Answers of a server that will not stream to us, however often we ask."""
CLEAN_CODES: Final = frozenset((1000, 1001))
_CODES: Final = frozenset((1000, 1001, 1002, 1003, 1006, 1007, 1008, 1009, 1011, 1012, 1013))
_STATUSES: Final = frozenset((400, 401, 403, 404, 405, 408, 425, 426, 429, 500, 501, 502, 503, 504))


class Stop(NamedTuple):
    """Why this connection must end. ``reason`` is a metric label; ``code`` the close code we send.

    ``error`` is the name in an error frame, as the peer wrote it, at most 200 characters.
    """

    reason: str
    code: int = 1000
    detail: str = ""
    error: str = ""


class Ended(NamedTuple):
    """How an attempt ended. ``wait`` in seconds overrides the backoff; ``lasted`` is since connected."""

    reason: str
    detail: str = ""
    wait: float | None = None
    clean: bool = False
    lasted: float = 0.0
    delivered: bool = False


def stop_for_error(error: str, message: str) -> Stop:
    """What an error frame, or a 400 that says the same, means for the connection."""
    return Stop(ERROR_REASONS.get(error, "error_frame"), detail=message[:200], error=error[:200])


def error_in_body(status: int, body: bytes) -> Stop | None:
    """The XRPC error a 400 carries as JSON, if it does."""
    if status != 400:
        return None
    try:
        answer = json.loads(body)
        error, message = answer["error"], answer.get("message", "")
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None
    return stop_for_error(error, str(message)) if isinstance(error, str) else None


def close_label(code: int) -> str:
    return f"close_{code}" if code in _CODES else "close_other"


def status_label(status: int) -> str:
    return f"http_{status}" if status in _STATUSES else f"http_{min(max(status // 100, 1), 9)}xx"


def retry_after_seconds(value: str | None, now: datetime) -> float | None:
    """A Retry-After header, seconds or a date, as seconds from ``now``; at most an hour."""
    value = (value or "").strip()
    try:
        if value.isascii() and value.isdigit():
            seconds = float(value)
        else:
            seconds = (parsedate_to_datetime(value) - now).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER)
