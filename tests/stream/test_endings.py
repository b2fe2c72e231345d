from __future__ import annotations

from datetime import UTC, datetime

import pytest

from firehose_indexer.stream.endings import close_label, error_in_body, retry_after_seconds, status_label

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("17", 17.0),
        (" 17 ", 17.0),
        ("99999999999", 3600.0),
        ("Sun, 22 Nov 2026 12:01:00 GMT", 60.0),
        ("Sun, 22 Nov 2026 11:01:00 GMT", 0.0),
        ("Sun, 22 Nov 2026 12:01:00 -0000", None),
        ("-5", None),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_seconds_or_a_date_within_an_hour(value, seconds):
    assert retry_after_seconds(value, NOW) == seconds


def test_labels_are_a_closed_set():
    assert len({close_label(code) for code in range(5000)}) == 12
    assert len({status_label(status) for status in range(-9, 2000)}) < 30
    assert (close_label(1006), status_label(429), status_label(418)) == ("close_1006", "http_429", "http_4xx")


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'"x"', b'{"error": 5}', b"null", b"[" * 4096])
def test_a_400_without_an_error_name_is_only_a_400(body):
    assert error_in_body(400, body) is None


def test_a_400_may_say_what_an_error_frame_says():
    stop = error_in_body(400, b'{"error": "FutureCursor", "message": "m"}')
    assert stop is not None
    assert stop.reason == "future_cursor"
    assert error_in_body(500, b'{"error": "FutureCursor"}') is None
