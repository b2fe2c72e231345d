from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from firehose_indexer.server.ready import Facts, Ready

GOOD = Facts(
    phase="running",
    schema_current=True,
    lock_held=True,
    written_seconds=1.0,
    source_state="live",
    source_connected=True,
    lag_seconds=2.0,
    open_gaps=0,
    quarantine_bytes=100,
)


def ready(**options) -> Ready:
    return Ready(lag_seconds=60, quarantine_bytes=100, **options)


def test_the_promise_holding_is_no_reasons():
    assert ready().judge(GOOD) == []


@pytest.mark.parametrize(
    ("broken", "code"),
    [
        ({"schema_current": False}, "schema"),
        ({"lock_held": False}, "lock"),
        ({"written_seconds": 31.0}, "database"),
        ({"written_seconds": None}, "database"),
        ({"writer_error": "disk full"}, "writer"),
        ({"source_connected": False, "source_state": "connecting"}, "source"),
        ({"lag_seconds": 61.0}, "lag"),
        ({"open_gaps": 1}, "gaps"),
        ({"quarantine_bytes": 101}, "quarantine"),
        ({"phase": "starting"}, "starting"),
        ({"phase": "draining"}, "draining"),
    ],
)
def test_each_breach_has_its_own_code(broken, code):
    assert [reason.code for reason in ready().judge(replace(GOOD, **broken))] == [code]


def test_several_breaches_are_all_listed():
    found = ready().judge(replace(GOOD, lock_held=False, open_gaps=2))
    assert [reason.code for reason in found] == ["lock", "gaps"]


def test_a_quiet_source_is_neither_lost_nor_late():
    assert (
        ready().judge(replace(GOOD, source_state="quiet", lag_seconds=5000.0, source_connected=False)) == []
    )


def test_a_reason_keeps_its_first_moment_until_it_is_gone():
    now = datetime(2026, 1, 1, tzinfo=UTC)
    judge = ready(now=lambda: now)
    late = replace(GOOD, lag_seconds=100.0)
    first = judge.judge(late)[0].since
    now += timedelta(minutes=5)
    assert judge.judge(late)[0].since == first
    judge.judge(GOOD)
    assert judge.judge(late)[0].since == now
