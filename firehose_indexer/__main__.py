"""``firehose-indexer`` and ``python -m firehose_indexer``."""

from __future__ import annotations

import sys


def main() -> int:
    """The exit code of the command line in ``sys.argv``."""
    from firehose_indexer.cli.main import main as run  # noqa: PLC0415  # importing this module costs nothing

    return run()


if __name__ == "__main__":
    sys.exit(main())
