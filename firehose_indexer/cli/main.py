"""The verbs together, and what surrounds each: options before it, exit codes, errors in one form."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated

from cyclopts import App, CycloptsError, Group, Parameter

from firehose_indexer import config
from firehose_indexer.cli import (
    cursor,
    database,
    doctor,
    identity,
    recordings,
    run,
    settings,
    simulate,
    version,
)
from firehose_indexer.cli.call import Call
from firehose_indexer.cli.complaint import complain, usage
from firehose_indexer.cli.page import PlainPage
from firehose_indexer.cli.verb import given, top
from firehose_indexer.version import NAME

SENTENCE = "The AT Protocol network, verified and exactly once, in your own Postgres."
_ANYWHERE = Group("Anywhere", sort_key=99)
_TOKENS = Parameter(show=False, allow_leading_hyphen=True)
_CONFIG = Parameter(
    metavar="FILE", group=_ANYWHERE, help="Read settings from FILE. [default ./firehose.toml]"
)
_LEVEL = Parameter(
    metavar="debug|info|warning|error",
    group=_ANYWHERE,
    help="Least important line. [LOG_LEVEL, default INFO]",
)
_FORMAT = Parameter(
    metavar="auto|console|json", group=_ANYWHERE, help="Form of the log. [LOG_FORMAT, default auto]"
)
_NO_COLOR = Parameter(negative="", group=_ANYWHERE, help="Plain text. [NO_COLOR]")


def build() -> App:
    """The command line as data: what ``main`` runs and the documentation prints."""
    app = App(
        name=NAME,
        help=SENTENCE,
        usage=top(SENTENCE, NAME, "[OPTIONS] VERB", [f"{NAME} run", f"{NAME} run --help"]),
        help_formatter=PlainPage(),
        help_format="plaintext",
        version_flags=(),
        group_commands=Group("Verbs", sort_key=0),
        group_parameters=Group("Options", sort_key=1),
        group_arguments=Group("Arguments", sort_key=0),
        default_parameter=Parameter(show_default=False, show_env_var=False, show_choices=False),
    )
    for room in (run, recordings, simulate, database, cursor, identity, settings, doctor, version):
        room.register(app)

    @app.meta.default
    def launch(
        *tokens: Annotated[str, _TOKENS],
        config: Annotated[Path | None, _CONFIG] = None,
        log_level: Annotated[str | None, _LEVEL] = None,
        log_format: Annotated[str | None, _FORMAT] = None,
        no_color: Annotated[bool, _NO_COLOR] = False,
    ) -> int:
        flags = given({"log_level": log_level, "log_format": log_format})
        call = Call(flags, config, colours=_colours(no_color=no_color))
        command, bound, ignored = app.parse_args(tokens, exit_on_error=False, print_error=False)
        done = command(*bound.args, **bound.kwargs, **({"call": call} if "call" in ignored else {}))
        return done if isinstance(done, int) else 0

    return app


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code of spec/services (m)."""
    tokens = list(sys.argv[1:] if argv is None else argv)
    app = build()
    try:
        return int(
            app.meta(tokens, exit_on_error=False, print_error=False, result_action="return_value") or 0
        )
    except CycloptsError as error:
        return usage(str(error), _help_for(app, tokens))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output went away (`| head`): nothing to tell, and nobody to tell it to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001  # the last place that can tell of it
        return complain(error, tokens, debug=config.debug_wanted(_level(tokens)))


def _level(tokens: Sequence[str]) -> dict[str, str | bool]:
    """``--log-level`` as it stands on a command line that may not have been understood."""
    words = " ".join(tokens).replace("--log-level=", "--log-level ").split()
    levels = [after for word, after in pairwise(words) if word == "--log-level"]
    return {"log_level": levels[-1]} if levels else {}


def _colours(*, no_color: bool) -> bool:
    return not no_color and config.colour_wanted() and sys.stderr.isatty()


def _help_for(app: App, tokens: Sequence[str]) -> str:
    """The help page nearest to what was meant."""
    words: list[str] = []
    here = app
    for token in tokens:
        if token.startswith("-"):
            continue
        if token not in here:
            break
        words.append(token)
        here = here[token]
    return " ".join([NAME, *words, "--help"])
