from __future__ import annotations

import json

from firehose_indexer.cli.main import main
from firehose_indexer.config import SETTINGS


def listed(capsys) -> dict[str, dict]:
    return {line["name"]: line for line in json.loads(capsys.readouterr().out)}


def test_config_lists_every_setting_with_value_and_origin(capsys, monkeypatch):
    monkeypatch.setenv("BATCH_MB", "9")
    assert main(["config", "--json", "--batch-ops", "5", "--no-migrate"]) == 0
    found = listed(capsys)
    assert set(found) == {one.env for one in SETTINGS.values()}
    assert found["BATCH_OPS"] == {"name": "BATCH_OPS", "value": "5", "origin": "--batch-ops"}
    assert found["BATCH_MB"]["origin"] == "BATCH_MB"
    assert found["MIGRATE"]["value"] == "0"
    assert found["MEMORY_MB"] == {"name": "MEMORY_MB", "value": "2048", "origin": "default"}


def test_config_masks_passwords(capsys):
    assert main(["config", "--database-url", "postgresql://u:sesame@h/d"]) == 0
    assert "sesame" not in capsys.readouterr().out


def test_defaults_are_shown_whatever_is_set(capsys):
    assert main(["config", "--json", "--defaults", "--batch-ops", "5"]) == 0
    assert listed(capsys)["BATCH_OPS"] == {"name": "BATCH_OPS", "value": "2000", "origin": "default"}


def test_notices_go_to_stderr(capsys, monkeypatch):
    monkeypatch.setenv("WORKER_ID", "1")
    assert main(["config", "--json"]) == 0
    captured = capsys.readouterr()
    json.loads(captured.out)
    assert "WORKER_ID" in captured.err
