"""How a function becomes a verb: its settings become flags, its examples stand first in its help."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from cyclopts import App, Group, Parameter

from firehose_indexer.cli.call import Call
from firehose_indexer.config import GROUPS, SETTINGS, Setting
from firehose_indexer.kinds import SWITCH
from firehose_indexer.version import NAME

Verb = Callable[..., int | None]

BEFORE_VERBS = ("log_level", "log_format")
"""Settings whose flags may stand before any verb, so no verb repeats them."""

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON.")]


def verb(
    app: App,
    sentence: str,
    *examples: str,
    name: str = "",
    usage: str = "[OPTIONS]",
    settings: Sequence[str] = (),
    more: str = "",
) -> Callable[[Verb], Verb]:
    """Register a function whose first argument is the ``Call``.

    With ``settings`` (groups of spec/services (n)) it also takes the loaded ``settings``, and the
    settings of those groups become its flags. ``more`` ends the help text before the options.
    """

    def register(function: Verb) -> Verb:
        word = name or function.__name__
        chain = " ".join(part for part in (NAME, _path(app), word) if part)
        app.command(
            _adapted(function, settings),
            name=word,
            help=sentence,
            usage=top(sentence, chain, usage, examples, more),
        )
        return function

    return register


def top(sentence: str, chain: str, usage: str, examples: Sequence[str], more: str = "") -> str:
    """The head of a help page: one sentence, usage, examples."""
    lines = [
        sentence,
        "",
        f"Usage: {chain} {usage}".rstrip(),
        "",
        "Examples:",
        *(f"  {line}" for line in examples),
    ]
    return "\n".join([*lines, *(["", *more.splitlines()] if more else [])])


def _path(app: App) -> str:
    return "" if app.name[0] == NAME else app.name[0]


def _adapted(function: Verb, groups: Sequence[str]) -> Verb:
    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
    flagged = [one for one in SETTINGS.values() if one.group in groups and one.name not in BEFORE_VERBS]

    def adapted(*args: Any, call: Call, **given: Any) -> int | None:
        flags = {one.name: given.pop(one.name, None) for one in flagged}
        if groups:
            given["settings"] = call.settings(
                {name: text for name, text in flags.items() if text is not None}
            )
        return function(call, *args, **given)

    parameters = [one for one in own if one.name != "settings"]
    parameters += [_flag(one) for one in flagged]
    parameters += [_keyword("call", Annotated[Call, Parameter(parse=False)], inspect.Parameter.empty)]
    adapted.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    adapted.__annotations__ = {one.name: one.annotation for one in parameters}
    adapted.__doc__ = None
    return adapted


def _flag(setting: Setting) -> inspect.Parameter:
    group = Group(setting.group.capitalize(), sort_key=10 + GROUPS.index(setting.group))
    help_text = f"{setting.sentence} [{setting.env}, default {setting.shown_default}]"
    if setting.kind is SWITCH:
        names = Parameter(name=setting.flag, negative=f"--no-{setting.flag[2:]}", help=help_text, group=group)
        return _keyword(setting.name, Annotated[bool | None, names])
    named = Parameter(name=setting.flag, metavar=setting.kind.metavar, help=help_text, group=group)
    return _keyword(setting.name, Annotated[str | None, named])


def _keyword(name: str, annotation: Any, default: Any = None) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def given(flags: Mapping[str, str | None]) -> dict[str, str | bool]:
    """Flags that were really there."""
    return {name: text for name, text in flags.items() if text is not None}
