from __future__ import annotations

import json
from datetime import UTC, datetime

from firehose_indexer.server.status import (
    CacheStatus,
    DatabaseStatus,
    ErrorSeen,
    GapCount,
    QueueStatus,
    Rates,
    SourceStatus,
    StatusSnapshot,
    as_json,
)

BARE = StatusSnapshot(
    uptime_seconds=0.0,
    verify="off",
    source=SourceStatus(source="bsky.network", state="connecting", connected=False),
    events=Rates(0, 0, 0),
    rows=Rates(0, 0, 0),
    memory_bytes=0,
    memory_bound_bytes=0,
)
FULL = StatusSnapshot(
    uptime_seconds=12.34,
    verify="off",
    source=SourceStatus(
        source="bsky.network",
        state="live",
        connected=True,
        received=20,
        watermark=10,
        event_time=datetime(2026, 1, 1, tzinfo=UTC),
        lag_seconds=0.44,
        last_frame_seconds=0.01,
        reconnects=2,
    ),
    events=Rates(1, 2, 3),
    rows=Rates(4, 5, 6),
    memory_bytes=7,
    memory_bound_bytes=8,
    database=DatabaseStatus(server="18.6", schema=11, size=20, idle=18, waiting=0),
    queues={"stream": QueueStatus(1, 2)},
    caches={"actors": CacheStatus(1, 2, 0.98765)},
    quarantine={"bad_field": 3},
    gaps=[GapCount("open", "frame", 1)],
    errors=[ErrorSeen(datetime(2026, 1, 1, tzinfo=UTC), "writer", "lost postgresql://u:sesame@h/d")],
)
KEYS = {
    *(
        "schema",
        "version",
        "uptime_seconds",
        "verify",
        "source",
        "seq",
        "watermark",
        "event_time",
        "lag_seconds",
    ),
    *("rates", "gaps", "quarantine", "queues", "caches", "memory", "database", "errors"),
}


def test_every_key_is_there_however_little_is_known():
    assert set(as_json(BARE)) == set(as_json(FULL)) == KEYS


def test_the_document_is_json_as_it_stands():
    for snapshot in (BARE, FULL):
        assert json.loads(json.dumps(as_json(snapshot))) == as_json(snapshot)


def test_facts_stand_under_their_keys():
    document = as_json(FULL)
    assert (document["seq"], document["watermark"], document["lag_seconds"]) == (20, 10, 0.4)
    assert document["event_time"] == "2026-01-01T00:00:00.000Z"
    assert document["rates"]["events"] == {"1": 1, "60": 2, "900": 3}
    assert document["queues"] == {"stream": {"depth_bytes": 1, "bound_bytes": 2}}
    assert document["caches"]["actors"]["hit_ratio"] == 0.9877
    assert document["database"]["pool"] == {"size": 20, "idle": 18, "waiting": 0}
    assert document["gaps"] == [{"state": "open", "kind": "frame", "count": 1}]
    assert document["quarantine"] == {"bad_field": 3}


def test_running_without_proof_is_flagged():
    assert as_json(FULL)["verify"] == {"mode": "off", "red": True}


def test_messages_of_errors_are_masked():
    assert "sesame" not in json.dumps(as_json(FULL))
