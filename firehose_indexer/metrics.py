"""Every metric, declared once (spec/protocol, last paragraph; spec/services (i) (j) (l)).

Labels come from closed sets: no DID, URI or text of a peer is ever one. Counters of the hot path take
the counts of a whole batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

_PREFIX = "firehose"
_BATCH_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_BATCH_EVENTS = (1, 5, 10, 50, 100, 250, 500, 1000, 2000, 5000, 10_000)
_LOOKUP_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60)
_HTTP_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30)

OTHER = "other"


class Declared(NamedTuple):
    """One metric as the documentation lists it."""

    name: str
    kind: str
    sentence: str
    labels: tuple[str, ...]


class Metrics:
    """The metrics of one process, in a registry of their own.

    ``collections`` are the NSIDs that have a handler: every other one is counted as ``other``.
    """

    def __init__(self, collections: Iterable[str] = ()) -> None:
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self.declared: list[Declared] = []
        self._collections = frozenset(collections)

        self._frames = self._counter("frames_total", "Messages of the stream.", "kind")
        self._outcomes = self._counter(
            "outcomes_total", "What became of events, and why.", "outcome", "reason"
        )
        self._reconnects = self._counter("reconnects_total", "Connections that ended.", "source", "reason")
        self._seq = self._gauge("seq", "Last seq received.", "source")
        self._lag = self._gauge("lag_seconds", "Now minus the event time of the watermark.", "source")
        self._gaps = self._gauge("gaps", "Holes in what the relay owed us.", "state", "kind")

        self._records = self._counter("records_total", "Record operations applied.", "collection", "action")
        self._fields_ignored = self._counter(
            "field_ignored_total",
            "Fields that were dropped while the record was kept.",
            "collection",
            "field",
        )
        self._over_limit = self._counter(
            "records_over_limit_total", "Records kept although over a lexicon limit."
        )
        self._bad_dates = self._counter(
            "records_bad_date_total", "Records whose date is unusable.", "collection"
        )
        self._rows = self._counter("rows_total", "Rows written.", "table")

        self._batch_seconds = self._histogram(
            "batch_seconds", "Time of a batch's transaction.", _BATCH_SECONDS
        )
        self._batch_events = self._histogram("batch_events", "Events in a batch.", _BATCH_EVENTS)
        self._retries = self._counter("commit_retries_total", "Batches that were tried again.", "reason")
        self._queue_bytes = self._gauge("queue_bytes", "Bytes waiting.", "queue")

        self._quarantined = self._counter("quarantine_total", "Entries made.", "scope", "reason")
        self._quarantine_open = self._gauge("quarantine_open", "Entries open.", "scope", "reason")

        self._recorded = self._counter("recorded_frames_total", "Frames written to recordings.")
        self._not_recorded = self._counter("recorder_dropped_total", "Frames that a recording lacks.")

        self._lookups = self._counter(
            "identity_lookups_total", "Questions to the network about an identity.", "method", "result"
        )
        self._lookup_seconds = self._histogram(
            "identity_seconds",
            "Time of such a question, with waiting and retries.",
            _LOOKUP_SECONDS,
            "method",
        )
        self._identity_entries = self._gauge(
            "identity_cache_entries", "Identities and handles held.", "layer"
        )
        self._identity_cache = self._counter(
            "identity_cache_total", "Looks for an identity by what became of them.", "layer", "result"
        )
        self._identity_waiting = self._gauge("identity_waiting", "Questions waiting for their turn.")
        self._breaker_open = self._gauge("breaker_open", "Hosts left alone for a while.", "kind")
        self._breaker_turns = self._counter(
            "breaker_transitions_total", "Hosts left alone, tried again, and well again.", "kind", "to"
        )
        self._outbound_refused = self._counter(
            "outbound_refused_total", "Requests that the guard did not let out, or answers in.", "reason"
        )
        self._handle_checks = self._counter("handle_checks_total", "Handles checked both ways.", "state")

        self._http = self._counter("http_requests_total", "Requests answered.", "route", "code")
        self._http_seconds = self._histogram("http_seconds", "Time to answer.", _HTTP_SECONDS, "route")

        ProcessCollector(namespace=_PREFIX, registry=self.registry)

    def render(self) -> bytes:
        """The Prometheus text format, version 0.0.4."""
        return prometheus_client.generate_latest(self.registry)

    # stream

    def frames(self, kinds: Mapping[str, int]) -> None:
        for kind, count in kinds.items():
            self._frames.labels(kind).inc(count)

    def outcomes(self, counts: Mapping[tuple[str, str], int]) -> None:
        """Counts by (outcome, reason); the reason of what went well is empty."""
        for (outcome, reason), count in counts.items():
            self._outcomes.labels(outcome, reason).inc(count)

    def seq(self, source: str, seq: int) -> None:
        self._seq.labels(source).set(seq)

    def watch_lag(self, source: str, seconds: Callable[[], float]) -> None:
        """Asked at every scrape, so a standstill shows as growing lag."""
        self._lag.labels(source).set_function(seconds)

    def reconnect(self, source: str, reason: str) -> None:
        self._reconnects.labels(source, reason).inc()

    def set_gaps(self, counts: Mapping[tuple[str, str], int]) -> None:
        """The whole of the gaps by (state, kind)."""
        _replace(self._gaps, counts)

    # records and rows

    def records(self, counts: Mapping[tuple[str, str], int]) -> None:
        """Counts by (collection, action)."""
        for (collection, action), count in counts.items():
            self._records.labels(self._known(collection), action).inc(count)

    def fields_ignored(self, counts: Mapping[tuple[str, str], int]) -> None:
        """Counts by (collection, field); fields are those that a handler declares."""
        for (collection, field), count in counts.items():
            self._fields_ignored.labels(self._known(collection), field).inc(count)

    def records_over_limit(self, count: int) -> None:
        self._over_limit.inc(count)

    def bad_dates(self, counts: Mapping[str, int]) -> None:
        for collection, count in counts.items():
            self._bad_dates.labels(self._known(collection)).inc(count)

    def rows(self, counts: Mapping[str, int]) -> None:
        for table, count in counts.items():
            self._rows.labels(table).inc(count)

    # batches and queues

    def batch(self, seconds: float, events: int) -> None:
        self._batch_seconds.observe(seconds)
        self._batch_events.observe(events)

    def commit_retry(self, reason: str) -> None:
        self._retries.labels(reason).inc()

    def watch_queue(self, queue: str, depth: Callable[[], int]) -> None:
        self._queue_bytes.labels(queue).set_function(depth)

    # quarantine

    def quarantined(self, counts: Mapping[tuple[str, str], int]) -> None:
        """New entries by (scope, reason)."""
        for (scope, reason), count in counts.items():
            self._quarantined.labels(scope, reason).inc(count)

    def set_quarantine_open(self, counts: Mapping[tuple[str, str], int]) -> None:
        """The whole of the open entries by (scope, reason)."""
        _replace(self._quarantine_open, counts)

    # recorder

    def recorded(self, frames: int) -> None:
        self._recorded.inc(frames)

    def recorder_dropped(self, frames: int) -> None:
        self._not_recorded.inc(frames)

    # identity

    def identity_lookup(self, method: str, result: str, seconds: float) -> None:
        self._lookups.labels(method, result).inc()
        self._lookup_seconds.labels(method).observe(seconds)

    def identity_cache(self, layer: str, result: str, count: int) -> None:
        self._identity_cache.labels(layer, result).inc(count)

    def watch_identities(
        self,
        *,
        memory: Callable[[], float],
        handles: Callable[[], float],
        waiting: Callable[[], float],
        breakers: Mapping[str, Callable[[], float]],
    ) -> None:
        self._identity_entries.labels("memory").set_function(memory)
        self._identity_entries.labels("handles").set_function(handles)
        self._identity_waiting.set_function(waiting)
        for kind, count in breakers.items():
            self._breaker_open.labels(kind).set_function(count)

    def breaker_turned(self, kind: str, to: str) -> None:
        self._breaker_turns.labels(kind, to).inc()

    def outbound_refused(self, reason: str) -> None:
        self._outbound_refused.labels(reason).inc()

    def handle_checked(self, state: str) -> None:
        self._handle_checks.labels(state).inc()

    # server

    def http(self, route: str, code: int, seconds: float) -> None:
        self._http.labels(route, str(code)).inc()
        self._http_seconds.labels(route).observe(seconds)

    def _known(self, collection: str) -> str:
        return collection if collection in self._collections else OTHER

    def _counter(self, name: str, sentence: str, *labels: str) -> Counter:
        self._declare(name, "counter", sentence, labels)
        return Counter(name, sentence, labels, namespace=_PREFIX, registry=self.registry)

    def _gauge(self, name: str, sentence: str, *labels: str) -> Gauge:
        self._declare(name, "gauge", sentence, labels)
        return Gauge(name, sentence, labels, namespace=_PREFIX, registry=self.registry)

    def _histogram(self, name: str, sentence: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        self._declare(name, "histogram", sentence, labels)
        return Histogram(name, sentence, labels, namespace=_PREFIX, registry=self.registry, buckets=buckets)

    def _declare(self, name: str, kind: str, sentence: str, labels: tuple[str, ...]) -> None:
        self.declared.append(Declared(f"{_PREFIX}_{name}", kind, sentence, labels))


def _replace(gauge: Gauge, counts: Mapping[tuple[str, str], int]) -> None:
    gauge.clear()
    for labels, count in counts.items():
        gauge.labels(*labels).set(count)
