from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firehose_indexer.repo.datetimes import is_datetime, parse
from tests.repo.vectors import lines


def test_the_vectors_are_accepted_and_refused() -> None:
    good, bad = lines("syntax/datetime_syntax_valid.txt"), lines("syntax/datetime_syntax_invalid.txt")
    assert (len(good), len(bad)) == (35, 45)
    assert [text for text in good if not is_datetime(text)] == []
    assert [text for text in bad if is_datetime(text)] == []


def test_well_formed_dates_that_do_not_exist_are_none() -> None:
    bad = lines("syntax/datetime_parse_invalid.txt")
    assert len(bad) == 7
    assert all(is_datetime(text) for text in bad)
    assert [text for text in bad if parse(text) is not None] == []


def test_valid_vectors_parse_unless_they_are_before_year_one() -> None:
    refused = [text for text in lines("syntax/datetime_syntax_valid.txt") if parse(text) is None]
    assert refused == ["0000-01-01T00:00:00.000Z"]


def utc(*parts: int, ms: int = 0) -> datetime:
    return datetime(*parts, microsecond=ms * 1000, tzinfo=UTC)  # type: ignore[arg-type,misc]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # E37
        ("yesterday", None),
        (17, None),
        (None, None),
        # E38
        ("0001-01-01T00:00:00Z", utc(1, 1, 1)),
        ("0000-01-01T00:00:00Z", None),
        # E39
        ("9999-12-31T23:59:59Z", utc(9999, 12, 31, 23, 59, 59)),
        ("9999-12-31T23:59:59-01:00", None),
        # E40
        ("2024-05-01T09:00:00+09:00", utc(2024, 5, 1)),
        ("2024-05-01T00:00:00.123999Z", utc(2024, 5, 1, ms=123)),
        # E41
        ("2024-05-01T00:00:00", utc(2024, 5, 1)),
        ("2024-05-01T00:00:00-00:00", None),
        # the tolerated spelling, and what is not tolerated
        ("2024-05-01T09:30:00+0930", utc(2024, 5, 1)),
        ("2024-05-01T00:00:00.5", utc(2024, 5, 1, ms=500)),
        ("2024-05-01T00:00:00-0000", None),
        ("2024-05-01T00:00:00.000z", None),
        ("2024-05-01t00:00:00.000Z", None),
        ("2024-05-01T00:00:60.000Z", None),
        ("2024-05-01T24:00:00.000Z", None),
        ("2024-05-01T24:00:00Z", None),
        ("2024-02-30T00:00:00.000Z", None),
        ("2024-W01-1T00:00:00.0000Z", None),
        ("2024-05-01T00:00:00.000Z\n", None),
        ("2024-05-01T00:00:00,000Z", None),
        ("２０２４-05-01T00:00:00.000Z", None),
        ("2024-05-01T00:00:00+24:00", None),
        ("2024-05-01T00:00:00+01:60", None),
        ("0001-01-01T00:00:00+00:01", None),
        ("2024-05-01T00:00:00." + "1" * 43 + "Z", utc(2024, 5, 1, ms=111)),
        ("2024-05-01T00:00:00." + "1" * 44 + "Z", None),
    ],
)
def test_a_date_becomes_utc_milliseconds_or_nothing(text: object, expected: datetime | None) -> None:
    found = parse(text)
    assert found == expected
    assert found is None or found.tzinfo is UTC


@given(st.datetimes(min_value=datetime(1, 1, 1), timezones=st.just(UTC)))
def test_the_usual_spelling_and_the_others_agree(moment: datetime) -> None:
    truncated = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    usual = moment.replace(tzinfo=None).isoformat(timespec="milliseconds")
    for text in (usual + "Z", usual + "+00:00", usual + "+0000", usual):
        assert parse(text) == truncated


@given(st.text(max_size=70))
def test_no_text_raises(text: str) -> None:
    assert parse(text) is None or len(text) <= 64
