"""Errors as people meet them: what failed, the fact and its source, what to try (style C.8)."""

from __future__ import annotations

import platform
import shlex
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

from firehose_indexer.errors import IndexerError
from firehose_indexer.masking import mask
from firehose_indexer.version import NAME, version

EXIT_UNEXPECTED = 1


def complain(error: BaseException, argv: Sequence[str], *, debug: bool) -> int:
    """Tell stderr about ``error``; returns the exit code.

    An error that is nobody's to mend is saved with its traceback, and only its place is shown.
    """
    cause = _root(error)
    if isinstance(cause, IndexerError):
        _say(mask(str(cause)), mask(cause.hint))
        code = cause.exit_code
    else:
        first = (mask(str(cause)).splitlines() or [""])[0]
        command = shlex.join([NAME, *map(mask, argv)])
        _say(
            f"unexpected {type(cause).__name__}: {first}\n  the report is in {_report(error, command)}",
            command,
        )
        code = EXIT_UNEXPECTED
    if debug:
        sys.stderr.write(mask("".join(traceback.format_exception(error))))
    return code


def usage(message: str, hint: str) -> int:
    """Tell stderr about a command line that cannot be understood; returns the exit code."""
    _say(mask(message), hint)
    return 2


def _say(message: str, hint: str) -> None:
    sys.stderr.write(f"error: {message}\n")
    if hint:
        sys.stderr.write("  Try: " + hint.replace("\n", "\n  ") + "\n")


def _root(error: BaseException) -> BaseException:
    """The one error to tell of: a group of tasks that failed for people's reasons is the first of them."""
    leaves = list(_leaves(error))
    ours = [leaf for leaf in leaves if isinstance(leaf, IndexerError)]
    strange = [leaf for leaf in leaves if not isinstance(leaf, IndexerError)]
    return (strange or ours)[0]


def _leaves(error: BaseException) -> Sequence[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]


def _report(error: BaseException, command: str) -> Path:
    with tempfile.NamedTemporaryFile(
        "w", prefix=f"{NAME}-", suffix=".txt", delete=False, encoding="utf-8", errors="backslashreplace"
    ) as report:
        report.write(f"{NAME} {version()}, Python {sys.version.split()[0]}, {platform.platform()}\n")
        report.write(f"{command}\n\n{mask(''.join(traceback.format_exception(error)))}")
    return Path(report.name)
