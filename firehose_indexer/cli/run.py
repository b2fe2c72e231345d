"""``run``: the main job."""

# ruff: noqa: PLC0415  # what only one verb needs is imported by that verb

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from firehose_indexer.cli.call import Call
from firehose_indexer.cli.verb import verb
from firehose_indexer.config import GROUPS, Settings

if TYPE_CHECKING:  # verbs load it when they need it
    from firehose_indexer.ops.stage import Stage

_EXITS = """\
Exit codes: 0 drained, 1 internal error or too slow to drain, 2 usage or
configuration, 3 database unreachable, 4 schema does not fit, 5 relay refused
for good, 6 another writer holds the lock, 130 second signal.
Signals: TERM and INT drain, a second one leaves at once; USR1 logs what every
task waits for; USR2 toggles debug logging."""


def register(app: App) -> None:
    @verb(
        app,
        "Follow the relay and write its events into Postgres.",
        "firehose-indexer run",
        "firehose-indexer run --relay-url wss://relay.example --data-dir /srv/atproto",
        settings=GROUPS,
        more=_EXITS,
    )
    def run(
        call: Call,
        settings: Settings,
        *,
        duration: Annotated[
            float | None, Parameter(metavar="SECONDS", help="Stop by itself after this long.")
        ] = None,
    ) -> None:
        from firehose_indexer import app as indexer

        async def job(stage: Stage) -> None:
            if duration is not None:
                asyncio.get_running_loop().call_later(duration, stage.shutdown.request, "duration")
            await indexer.run(settings, console=stage.console, log=stage.log, shutdown=stage.shutdown)

        call.run(settings, job)
