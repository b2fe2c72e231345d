from __future__ import annotations

import json

from firehose_indexer.cli.doctor import report
from firehose_indexer.cli.main import main
from firehose_indexer.ops.doctor import Finding


def test_a_category_stands_before_its_first_finding_and_the_sum_at_the_end():
    lines = report(
        [
            Finding("database", "good", "PostgreSQL 18.6"),
            Finding("database", "bad", "too few connections", "raise max_connections"),
            Finding("http", "consider", "taken"),
        ]
    )
    assert lines == [
        "database      ✔ PostgreSQL 18.6",
        "              ✘ too few connections    → raise max_connections",
        "http          ! taken",
        "1 to fix, 1 to consider.",
    ]


def test_a_healthy_machine_exits_0(capsys, tmp_path):
    assert main(["doctor", "--offline", "--http-bind", "127.0.0.1:0", "--data-dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("0 to fix")


def test_something_to_fix_exits_1_and_is_json(capsys):
    database = ["--database-url", "postgresql://u:sesame@127.0.0.1:1/d"]
    assert main(["doctor", "--category", "database", "--json", *database]) == 1
    captured = capsys.readouterr()
    (found,) = json.loads(captured.out)
    assert (found["category"], found["severity"]) == ("database", "bad")
    assert "sesame" not in captured.out


def test_an_unknown_category_is_a_usage_error(capsys):
    assert main(["doctor", "--category", "weather"]) == 2
    assert "weather" in capsys.readouterr().err
