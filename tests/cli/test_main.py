from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from firehose_indexer.cli.main import build, main

HERE = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
VERBS = {
    "run",
    "record",
    "replay",
    "simulate",
    "demo",
    "migrate",
    "cursor",
    "config",
    "db",
    "doctor",
    "resolve",
    "plc-import",
    "version",
}


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def program(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "firehose_indexer", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**HERE, **variables},
    )


def pages(app, words: tuple[str, ...] = ()):
    yield words
    for word in app:
        if not word.startswith("-"):
            yield from pages(app[word], (*words, word))


PAGES = list(pages(build()))


def test_these_are_the_verbs():
    assert {words[0] for words in PAGES if words} == VERBS


@pytest.mark.parametrize("words", PAGES, ids=" ".join)
def test_a_help_page_is_a_sentence_then_usage_then_two_examples_within_80_columns(words, capsys):
    assert main([*words, "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(".")
    assert lines[2].startswith("Usage: " + " ".join(["firehose-indexer", *words]))
    assert lines[4] == "Examples:"
    assert all(line.startswith("  ") and "firehose-indexer" in line for line in lines[5:7])
    assert max(map(len, lines)) <= 80


def test_no_verb_is_help(capsys):
    assert main([]) == 0
    assert "Usage: firehose-indexer" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["bogus"], 'Unknown command "bogus"'),
        (["run", "--batch-op", "1"], "Did you mean --batch-ops?"),
        (["run", "surplus"], "surplus"),
        (["run", "--batch-ops", "0"], "not between 1 and 100000"),
        (["cursor", "set", "x"], '"x"'),
        (["cursor", "set", "-1"], "-1"),
        (["cursor", "rewind", "soon"], "not an age"),
        (["replay", "gone.frames.zst"], "no file gone.frames.zst"),
        (["simulate", "--from", "gone.frames"], "no file gone.frames"),
        (["simulate", "--rate", "-5"], "--rate"),
        (["simulate", "--faults", "gremlins=1"], "gremlins"),
        (["config", "--config", "gone.toml"], "gone.toml"),
    ],
)
def test_a_wrong_command_line_exits_2_and_says_what_to_try(arguments, told, capsys):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert told in captured.err
    assert "Traceback" not in captured.err


def test_recording_over_a_file_is_refused(capsys):
    Path("there.frames.zst").write_bytes(b"x")
    assert main(["record", "there.frames.zst"]) == 2
    assert "there already" in capsys.readouterr().err


def test_an_unreachable_database_exits_3_without_its_password(capsys):
    assert main(["migrate", "--database-url", "postgresql://u:sesame@127.0.0.1:1/x"]) == 3
    error = capsys.readouterr().err
    assert "u:***@127.0.0.1:1/x" in error
    assert "sesame" not in error
    assert "  Try: " in error


def test_an_unexpected_error_leaves_a_report_and_the_command(monkeypatch, capsys, tmp_path):
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("postgresql://u:sesame@h/d")

    monkeypatch.setattr("firehose_indexer.cli.version.versions", broken)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert main(["version", "--json"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: unexpected ZeroDivisionError: ")
    assert "Traceback" not in error
    assert "Try: firehose-indexer version --json" in error
    (report,) = tmp_path.glob("firehose-indexer-*.txt")
    assert str(report) in error
    assert "Traceback" in report.read_text()
    assert "sesame" not in report.read_text() + error


def test_debug_shows_the_traceback(capsys):
    assert main(["run", "--batch-ops", "0", "--log-level", "debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_options_before_and_after_the_verb_mean_the_same(capsys):
    Path("other.toml").write_text("batch_ops = 77\n")
    outputs = []
    for arguments in (["--config", "other.toml", "config"], ["config", "--config", "other.toml"]):
        assert main(arguments) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]
    assert "77" in outputs[0]


def test_the_program_runs_as_a_module_and_returns_its_exit_code():
    assert program("version").returncode == 0
    failed = program("run", BATCH_OP="1")
    assert failed.returncode == 2
    assert failed.stdout == ""
    assert "Did you mean BATCH_OPS?" in failed.stderr


def test_a_reader_that_leaves_early_is_no_error():
    command = f"{sys.executable} -m firehose_indexer config --json | head -c 1"
    done = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, timeout=60, check=False, env=HERE
    )
    assert done.stdout == "["
    assert done.stderr == ""


@pytest.mark.parametrize("arguments", [["version"], ["--help"], ["run", "--help"]])
def test_quick_verbs_load_nothing_heavy(arguments):
    heavy = {"asyncpg", "aiohttp", "websockets", "atproto", "prometheus_client", "structlog", "cryptography"}
    code = f"import sys; from firehose_indexer.cli.main import main; main({arguments!r}); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True, env=HERE
    )
    assert heavy.isdisjoint(done.stdout.splitlines()[-1].split())
