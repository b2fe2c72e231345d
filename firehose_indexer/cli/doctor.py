"""``doctor``: what is well, what is not, and what to do about it."""

# ruff: noqa: PLC0415  # what only one verb needs is imported by that verb

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from firehose_indexer.cli.call import Call, show, show_json
from firehose_indexer.cli.verb import Json, verb
from firehose_indexer.config import Settings

if TYPE_CHECKING:
    from firehose_indexer.ops.doctor import Finding

Category = Literal["environment", "config", "database", "relay", "identity", "http"]
_SIGNS = {"good": "✔", "consider": "!", "bad": "✘"}


def register(app: App) -> None:
    @verb(
        app,
        "Check what the indexer stands on; exits 1 if something must be fixed.",
        "firehose-indexer doctor",
        "firehose-indexer doctor --offline --json",
        settings=("source", "database", "batch", "identity", "server"),
    )
    def doctor(
        call: Call,
        settings: Settings,
        *,
        offline: Annotated[bool, Parameter(negative="", help="Leave the network alone.")] = False,
        category: Annotated[
            Category | None,
            Parameter(metavar="NAME", help="One of environment, config, database, relay, identity, http."),
        ] = None,
        json: Json = False,
    ) -> int:
        return call.wait_for(lambda: _doctor(settings, offline=offline, category=category or "", json=json))


async def _doctor(settings: Settings, *, offline: bool, category: str, json: bool) -> int:
    from firehose_indexer.ops.doctor import BAD, as_json, checks, examine

    found = await examine(settings, checks=checks(offline=offline, only=category))
    if json:
        show_json(as_json(found))
    else:
        for line in report(found):
            show(line)
    return int(any(one.severity == BAD for one in found))


def report(found: Sequence[Finding]) -> list[str]:
    """The findings as lines, the category in front of its first, and a sum at the end."""
    lines = []
    before = ""
    for one in found:
        head = one.category if one.category != before else ""
        remedy = f"    → {one.remedy}" if one.remedy else ""
        lines.append(f"{head:<12}  {_SIGNS[one.severity]} {one.message}{remedy}")
        before = one.category
    bad = sum(one.severity == "bad" for one in found)
    consider = sum(one.severity == "consider" for one in found)
    return [*lines, f"{bad} to fix, {consider} to consider."]
