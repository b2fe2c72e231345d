"""Where the SQL files are: ``sql/`` beside the package in a checkout, ``_sql`` inside an installed wheel."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import firehose_indexer


@dataclass(frozen=True, slots=True)
class SqlFile:
    """One file: ``name`` without folder and suffix, the text, and its checksum (sha256, hex)."""

    name: str
    text: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


def sql_root() -> Path:
    """The folder that holds ``migrations/``, ``views/`` and ``queries/``."""
    package = Path(firehose_indexer.__file__).parent
    installed = package / "_sql"
    return installed if installed.is_dir() else package.parent / "sql"


def read_folder(folder: Path) -> list[SqlFile]:
    """Every ``*.sql`` of ``folder``, by name; none when there is no such folder."""
    return [SqlFile(path.stem, path.read_text("utf-8")) for path in sorted(folder.glob("*.sql"))]
