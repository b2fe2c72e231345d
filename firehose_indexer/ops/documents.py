"""DID documents in a file, one JSON object per line: what ``replay --identities`` takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from firehose_indexer.errors import ConfigError
from firehose_indexer.repo.syntax import is_did


def documents(path: Path) -> dict[str, dict[str, Any]]:
    """The documents by DID. Raises ConfigError naming the line that is none."""
    found: dict[str, dict[str, Any]] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            document = json.loads(line)
            did = document["id"]
        except (ValueError, TypeError, KeyError, RecursionError):
            did = None
        if not isinstance(did, str) or not is_did(did):
            raise ConfigError(f"{path}, line {number} is not a DID document", hint="one JSON object per line")
        found[did] = document
    return found
