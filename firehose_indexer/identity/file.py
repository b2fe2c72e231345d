"""DID documents from a file of JSON lines: the identities that go with a recording (``replay --identities``)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from firehose_indexer.errors import ConfigError
from firehose_indexer.identity.document import Identity, read_document
from firehose_indexer.identity.outcome import DidDocument
from firehose_indexer.repo.syntax import is_did

MAX_LINE = 262_144 * 2


def read_identities(path: Path) -> Iterator[Identity]:
    """One document a line, hosts as they stand (a recording may be of a devnet). Raises ConfigError."""
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _document(path, number, line)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}", hint="check --identities") from None


def _document(path: Path, number: int, line: str) -> Identity:
    try:
        document = json.loads(line) if len(line) <= MAX_LINE else None
        did = document.get("id") if isinstance(document, dict) else None
        if not isinstance(did, str) or not is_did(did):
            raise DidDocument("no DID")
        return read_document(did, document, local=True)
    except (ValueError, RecursionError, DidDocument) as error:
        raise ConfigError(
            f"{path}, line {number} is not a DID document ({error})", hint="one JSON object per line"
        ) from None
