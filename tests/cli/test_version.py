from __future__ import annotations

import json

from firehose_indexer.cli.main import main


def test_version_names_what_a_bug_report_needs(capsys):
    assert main(["version", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"firehose-indexer", "schema", "python", "postgres", "libipld"}
    assert all(found.values())
    assert found["schema"].isdecimal()


def test_version_is_readable_lines(capsys):
    assert main(["version"]) == 0
    assert capsys.readouterr().out.startswith("firehose-indexer  ")
