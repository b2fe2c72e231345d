"""``GET /readyz``: green only while the promise holds (spec/services (l))."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

WRITTEN_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What readiness is judged by.

    ``phase`` is starting, running or draining. ``written_seconds`` is the age of the last proof that
    the database takes writes, a commit or a probe. ``open_gaps`` counts those that nothing is healing.
    ``writer_error`` is the text of the error that keeps batches from being committed, or empty.
    """

    phase: str
    schema_current: bool
    lock_held: bool
    written_seconds: float | None
    source_state: str
    source_connected: bool
    lag_seconds: float | None
    open_gaps: int
    quarantine_bytes: int
    writer_error: str = ""


@dataclass(frozen=True, slots=True)
class NotReady:
    """One reason why the promise does not hold, and since when."""

    code: str
    detail: str
    since: datetime


class Ready:
    """Judges facts, and remembers since when each reason stands."""

    def __init__(
        self,
        *,
        lag_seconds: int,
        quarantine_bytes: int,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._lag_bound = lag_seconds
        self._quarantine_bound = quarantine_bytes
        self._now = now
        self._since: dict[str, datetime] = {}

    def judge(self, facts: Facts) -> list[NotReady]:
        """Every reason that holds now; empty means ready."""
        found = self._reasons(facts)
        now = self._now()
        self._since = {code: self._since.get(code, now) for code in found}
        return [NotReady(code, detail, self._since[code]) for code, detail in found.items()]

    def _reasons(self, facts: Facts) -> dict[str, str]:
        if facts.phase != "running":
            return {facts.phase: f"the process is {facts.phase}"}
        found: dict[str, str] = {}
        if not facts.schema_current:
            found["schema"] = "the database's schema is not this version's"
        if not facts.lock_held:
            found["lock"] = "the writer lock is not held"
        if facts.written_seconds is None or facts.written_seconds > WRITTEN_SECONDS:
            found["database"] = f"nothing was written for {_seconds(facts.written_seconds)}"
        if facts.writer_error:
            found["writer"] = facts.writer_error
        if not facts.source_connected and facts.source_state != "quiet":
            found["source"] = f"the source is {facts.source_state}"
        # A quiet source has an old watermark by nature.
        if facts.source_state != "quiet" and (facts.lag_seconds or 0) > self._lag_bound:
            found["lag"] = f"{_seconds(facts.lag_seconds)} behind, allowed are {self._lag_bound} s"
        if facts.open_gaps:
            found["gaps"] = f"{facts.open_gaps} open and not healing"
        if facts.quarantine_bytes > self._quarantine_bound:
            found["quarantine"] = f"{facts.quarantine_bytes} bytes, allowed are {self._quarantine_bound}"
        return found


def _seconds(value: float | None) -> str:
    return "as long as we know" if value is None else f"{value:.0f} s"
