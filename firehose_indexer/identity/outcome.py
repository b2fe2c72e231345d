"""How a resolution ends. The kinds are kept apart: what is an answer, and what may go better later (protocol §9)."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """Metric label and column value."""

    ok = "ok"
    not_found = "not_found"
    bad_document = "bad_document"
    failed = "failed"
    bad_syntax = "bad_syntax"
    unsupported_method = "unsupported_method"


class ResolutionError(Exception):
    """No identity, or no DID, for a reason. Never says what a document contains."""

    outcome = Outcome.failed

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail[:200])
        self.detail = detail[:200]


class DidSyntax(ResolutionError):
    """Not a DID."""

    outcome = Outcome.bad_syntax


class DidMethod(ResolutionError):
    """A DID that is neither did:plc nor did:web."""

    outcome = Outcome.unsupported_method


class DidNotFound(ResolutionError):
    """404, 410, or a tombstone."""

    outcome = Outcome.not_found


class DidDocument(ResolutionError):
    """There is an answer, and it is not this DID's document."""

    outcome = Outcome.bad_document


class HandleNotFound(ResolutionError):
    """The handle leads to no DID, or to more than one."""

    outcome = Outcome.not_found


class DidFailed(ResolutionError):
    """No answer: transport, 5xx, 429, an open breaker. ``retry_at``: seconds since 1970."""

    def __init__(self, retry_at: float, detail: str = "") -> None:
        super().__init__(detail)
        self.retry_at = retry_at


class Postponed(DidFailed):
    """Not tried, or not to the end: the queue is full, a breaker is open, the caller's patience is over."""


class Unanswered(Exception):
    """One attempt without an answer. ``counts``: it is the host's fault, as its breaker sees it."""

    def __init__(self, detail: str, *, retry_after: float | None = None, counts: bool = True) -> None:
        super().__init__(detail)
        self.retry_after = retry_after
        self.counts = counts
