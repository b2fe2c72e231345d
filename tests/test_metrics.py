from __future__ import annotations

from firehose_indexer.metrics import Metrics

LIKE = "app.bsky.feed.like"


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_every_metric_has_our_prefix_and_is_declared_once():
    metrics = Metrics()
    names = [one.name for one in metrics.declared]
    assert len(names) == len(set(names))
    assert all(name.startswith("firehose_") for name in names)


def test_no_label_could_hold_what_a_peer_wrote():
    allowed = {
        "kind",
        "outcome",
        "reason",
        "source",
        "state",
        "collection",
        "action",
        "field",
        "table",
        "queue",
    }
    allowed |= {"scope", "route", "code", "method", "result", "layer", "to"}
    assert {label for one in Metrics().declared for label in one.labels} <= allowed


def test_what_is_declared_is_what_is_exposed():
    metrics = Metrics()
    families = {family.name for family in metrics.registry.collect()}
    declared = {one.name.removesuffix("_total") for one in metrics.declared}
    assert declared <= families
    assert all(name.startswith("firehose_process_") for name in families - declared)


def test_unknown_collections_are_folded():
    metrics = Metrics([LIKE])
    metrics.records({(LIKE, "create"): 3, ("made.up.one", "create"): 1, ("made.up.two", "create"): 1})
    assert value(metrics, "firehose_records_total", collection=LIKE, action="create") == 3
    assert value(metrics, "firehose_records_total", collection="other", action="create") == 2
    assert "made.up" not in metrics.render().decode()


def test_hot_counters_take_the_counts_of_a_batch():
    metrics = Metrics([LIKE])
    metrics.frames({"commit": 250, "identity": 2})
    metrics.frames({"commit": 1})
    metrics.outcomes({("applied", ""): 200, ("quarantined", "bad_field"): 1})
    metrics.rows({"likes": 120})
    metrics.batch(0.02, 252)
    assert value(metrics, "firehose_frames_total", kind="commit") == 251
    assert value(metrics, "firehose_outcomes_total", outcome="quarantined", reason="bad_field") == 1
    assert value(metrics, "firehose_rows_total", table="likes") == 120
    assert value(metrics, "firehose_batch_events_sum") == 252
    assert value(metrics, "firehose_batch_seconds_count") == 1


def test_lag_is_asked_for_at_every_scrape():
    metrics = Metrics()
    lag = 1.0
    metrics.watch_lag("relay", lambda: lag)
    assert value(metrics, "firehose_lag_seconds", source="relay") == 1.0
    lag = 9.0
    assert value(metrics, "firehose_lag_seconds", source="relay") == 9.0


def test_a_state_that_is_over_disappears():
    metrics = Metrics()
    metrics.set_gaps({("open", "frame"): 2})
    metrics.set_gaps({("closed", "frame"): 2})
    assert value(metrics, "firehose_gaps", state="open", kind="frame") is None
    assert value(metrics, "firehose_gaps", state="closed", kind="frame") == 2


def test_two_processes_in_one_share_nothing():
    one, other = Metrics(), Metrics()
    one.frames({"commit": 1})
    assert value(other, "firehose_frames_total", kind="commit") is None


def test_no_creation_times_double_the_page():
    metrics = Metrics()
    metrics.frames({"commit": 1})
    assert b"_created" not in metrics.render()
