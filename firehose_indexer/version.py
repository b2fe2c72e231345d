"""Which version this is."""

from __future__ import annotations

from importlib import metadata

NAME = "firehose-indexer"
CONTACT = "https://github.com/firehose-indexer"


def version() -> str:
    """The installed version; ``0`` when run from a tree that was never installed."""
    try:
        return metadata.version(NAME)
    except metadata.PackageNotFoundError:
        return "0"


def user_agent() -> str:
    """How this program introduces itself to other people's servers."""
    return f"{NAME}/{version()} (+{CONTACT})"
