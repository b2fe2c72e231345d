from __future__ import annotations

from pathlib import Path

import pytest

from firehose_indexer.cli.main import build
from firehose_indexer.ops import docs

FOLDER = Path(__file__).parents[2] / "docs"
PAGES = docs.pages(build())


@pytest.mark.parametrize("name", PAGES)
def test_the_page_says_what_the_program_says(name):
    assert (FOLDER / name).read_text(encoding="utf-8") == PAGES[name], (
        "run: python -m firehose_indexer.ops.docs"
    )


def test_check_tells_stale_from_current(tmp_path, capsys):
    assert docs.main(tmp_path, check=True) == 1
    assert list(tmp_path.iterdir()) == []
    assert docs.main(tmp_path, check=False) == 0
    assert docs.main(tmp_path, check=True) == 0
    (tmp_path / "cli.md").write_text("old")
    assert docs.main(tmp_path, check=True) == 1
    assert "cli.md is out of date" in capsys.readouterr().err
