"""The pages that the program writes about itself: ``python -m firehose_indexer.ops.docs [--check]``."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from cyclopts import App
from rich.console import Console

from firehose_indexer.config import GROUPS, NOTES, PREFIXES, SETTINGS, WITHOUT_EFFECT
from firehose_indexer.metrics import Metrics
from firehose_indexer.version import NAME

_MADE = "<!-- Written by `python -m firehose_indexer.ops.docs`; edit the code instead. -->"


def pages(app: App) -> Mapping[str, str]:
    """Every generated page by its file name in ``docs/``."""
    return {"cli.md": _cli(app), "configuration.md": _configuration(), "metrics.md": _metrics()}


def _cli(app: App) -> str:
    lines = ["# The command line", "", _MADE, ""]
    for words in _verbs(app):
        lines += [f"## {' '.join([NAME, *words])}", "", "```text", _help(app, words), "```", ""]
    return _joined(lines)


def _verbs(app: App, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield words
    for word in app:
        if not word.startswith("-"):
            yield from _verbs(app[word], (*words, word))


def _help(app: App, words: tuple[str, ...]) -> str:
    page = io.StringIO()
    app.console = Console(file=page, width=80, no_color=True)
    app.meta([*words, "--help"], exit_on_error=False, print_error=False, result_action="return_value")
    return page.getvalue().rstrip()


def _configuration() -> str:
    lines = [
        *("# Configuration", "", _MADE, ""),
        "A flag wins over the environment, the environment over `firehose.toml` (or `--config FILE`), and that",
        "over the default. `firehose-indexer config` shows every value and where it came from. In the file the",
        "names are lower case and stand without tables:",
        *("", "```toml", 'relay_url = ["wss://bsky.network"]', "batch_ops = 4000", "```", ""),
        "Lists are comma-separated; `@path` reads them from a file. A value out of range is an error, and so is a",
        f"variable that begins with one of {', '.join(f'`{prefix}`' for prefix in PREFIXES)} and is not a setting.",
        "",
    ]
    for group in GROUPS:
        lines += [
            f"## {group.capitalize()}",
            "",
            *([NOTES[group], ""] if group in NOTES else []),
            "| Variable | Flag | Default | Value | Meaning |",
            "|---|---|---|---|---|",
        ]
        lines += [
            f"| `{one.env}` | `{one.flag}` | `{one.shown_default}` | {one.kind.legal} | {one.sentence} |"
            for one in SETTINGS.values()
            if one.group == group
        ]
        lines.append("")
    secrets = [f"`{one.env}_FILE`" for one in SETTINGS.values() if one.secret]
    lines += [
        f"{', '.join(secrets)} names a file that holds the value instead.",
        *("", "## Without effect", "", "Names of the older system, accepted with one line of warning:", ""),
        *(f"- `{name}`: {why}" for name, why in WITHOUT_EFFECT.items()),
        "- `REDIS_*`, `CONSUMER_ID`, `PARALLEL_CONSUMERS`: there is no Redis and no second stage",
        "",
    ]
    return _joined(lines)


def _metrics() -> str:
    lines = ["# Metrics", "", _MADE, "", "| Name | Type | Labels | Meaning |", "|---|---|---|---|"]
    for one in Metrics().declared:
        labels = ", ".join(f"`{label}`" for label in one.labels)
        lines.append(f"| `{one.name}` | {one.kind} | {labels} | {one.sentence} |")
    lines += ["", "Besides: the process metrics of the Prometheus client, as `firehose_process_*`.", ""]
    return _joined(lines)


def _joined(lines: list[str]) -> str:
    return "\n".join(lines).rstrip() + "\n"


def main(folder: Path, *, check: bool) -> int:
    """Write the pages into ``folder``, or with ``check`` only name those that are out of date."""
    from firehose_indexer.cli.main import build  # noqa: PLC0415  # the command line stands above this room

    stale = []
    for name, text in pages(build()).items():
        path = folder / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
    sys.stderr.write("".join(f"{name} {'is out of date' if check else 'written'}\n" for name in stale))
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main(Path("docs"), check="--check" in sys.argv[1:]))
