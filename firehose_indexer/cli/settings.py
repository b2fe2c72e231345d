"""``config``: every setting, its value and where it came from."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from firehose_indexer.cli.call import Call, show, show_json, talk
from firehose_indexer.cli.verb import Json, verb
from firehose_indexer.config import GROUPS, SETTINGS, Settings


def register(app: App) -> None:
    @verb(
        app,
        "Show every setting, its value and where it came from.",
        "firehose-indexer config",
        "firehose-indexer config --json --defaults",
        name="config",
        settings=GROUPS,
    )
    def config(
        _: Call,
        settings: Settings,
        *,
        json: Json = False,
        defaults: Annotated[bool, Parameter(negative="", help="Show the defaults instead.")] = False,
    ) -> None:
        shown = Settings() if defaults else settings
        lines = [
            (one.env, one.show(getattr(shown, one.name)), shown.origin(one.name)) for one in SETTINGS.values()
        ]
        for notice in settings.notices:
            talk(notice)
        if json:
            show_json([{"name": name, "value": value, "origin": origin} for name, value, origin in lines])
            return
        name_width = max(len(name) for name, _, _ in lines)
        value_width = max(len(value) for _, value, _ in lines)
        for name, value, origin in lines:
            show(f"{name:<{name_width}}  {value:<{value_width}}  {origin}")
