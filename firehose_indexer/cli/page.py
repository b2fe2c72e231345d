"""Help pages as plain text of at most 80 columns, the same on every terminal and in the docs."""

# ruff: noqa: PLC0415  # what only one verb needs is imported by that verb

# ruff: noqa: ARG002  # a formatter is given more than plain text needs

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cyclopts.help import HelpEntry, HelpPanel
    from rich.console import Console, ConsoleOptions, RenderableType

WIDTH = 80
_INDENT = 26


class PlainPage:
    """A cyclopts help formatter. The verb's usage text holds sentence, usage and examples."""

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        entries = [entry for entry in panel.entries if _names(entry)]
        if not entries:
            return
        _print(console, f"{_text(panel.title)}:")
        for entry in entries:
            _print(console, _lines(_names(entry), _text(entry.description)))
        _print(console, "")

    def render_usage(self, console: Console, options: ConsoleOptions, usage: Any) -> None:
        _print(console, f"{usage}".rstrip() + "\n")

    def render_description(self, console: Console, options: ConsoleOptions, description: Any) -> None:
        """Nothing: the sentence stands above the usage."""


def _names(entry: HelpEntry) -> str:
    names = ", ".join(entry.positive_shorts + entry.positive_names)
    if entry.positional_label:
        return entry.positional_label
    if entry.negative_names:
        names += "/" + entry.negative_names[0]
    return f"{names} {entry.metavar}" if entry.metavar else names


def _lines(names: str, description: str) -> str:
    head = f"  {names}"
    gap = " " * _INDENT
    if len(head) + 2 > _INDENT:
        return "\n".join([head, *_wrapped(gap, gap, description)]) if description else head
    return "\n".join(_wrapped(head.ljust(_INDENT), gap, description)) or head


def _wrapped(first: str, rest: str, text: str) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _text(renderable: RenderableType | None) -> str:
    """What a rich object says, on one line."""
    if renderable is None or isinstance(renderable, str):
        return renderable or ""
    from rich.console import Console

    wide = Console(width=10_000, no_color=True, highlight=False, markup=False, emoji=False)
    with wide.capture() as captured:
        wide.print(renderable)
    return " ".join(captured.get().split())


def _print(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)
