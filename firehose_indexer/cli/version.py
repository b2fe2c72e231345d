"""``version``: ours, and that of everything whose version matters in a bug report."""

# ruff: noqa: PLC0415  # what only one verb needs is imported by that verb

from __future__ import annotations

import platform
from importlib import metadata

from cyclopts import App

from firehose_indexer.cli.call import Call, show, show_json
from firehose_indexer.cli.verb import Json, verb
from firehose_indexer.errors import DatabaseError
from firehose_indexer.version import NAME, version


def register(app: App) -> None:
    @verb(
        app,
        "Print the versions of this program and of what it stands on.",
        "firehose-indexer version",
        "firehose-indexer version --json",
        name="version",
    )
    def show_version(_: Call, *, json: Json = False) -> None:
        found = versions()
        if json:
            show_json(found)
            return
        width = max(map(len, found))
        for name, value in found.items():
            show(f"{name:<{width}}  {value}")


def versions() -> dict[str, str]:
    """By name; a part that is not there is ``none``."""
    from firehose_indexer.store.sqlfiles import read_folder, sql_root  # not the runner: it loads asyncpg

    migrations = read_folder(sql_root() / "migrations")
    return {
        NAME: version(),
        "schema": migrations[-1].name[:4] if migrations else "none",
        "python": platform.python_version(),
        "postgres": _postgres(),
        "libipld": _installed("libipld"),
    }


def _postgres() -> str:
    from firehose_indexer.store.binaries import find_binaries

    try:
        return find_binaries().version
    except DatabaseError:
        return "none"


def _installed(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"
