"""One invocation: what stood on the command line before the verb had its say, and where output goes."""

# ruff: noqa: PLC0415  # what only one verb needs is imported by that verb

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from firehose_indexer import config

if TYPE_CHECKING:  # each costs start-up time that `version` and `--help` must not pay
    from firehose_indexer.ops.stage import Stage


@dataclass(frozen=True, slots=True)
class Call:
    """``flags`` are those that stand before any verb; ``file`` is ``--config``."""

    flags: Mapping[str, str | bool] = field(default_factory=dict)
    file: Path | None = None
    colours: bool = False

    def settings(self, flags: Mapping[str, str | bool] | None = None) -> config.Settings:
        """The settings in force, with the verb's own flags. Raises ConfigError."""
        return config.load({**self.flags, **(flags or {})}, file=self.file)

    def run(self, settings: config.Settings, job: Callable[[Stage], Awaitable[None]]) -> None:
        """Run ``job`` in an event loop that obeys the signals of spec/services (m)."""
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_stage(settings, job, colours=self.colours))

    def wait_for(self, work: Callable[[], Awaitable[int]]) -> int:
        """Run a short piece of work that Ctrl-C may simply end."""
        return asyncio.run(_int(work))


def show(text: str) -> None:
    """Data: one line to stdout."""
    sys.stdout.write(text + "\n")


def show_json(value: Any) -> None:
    show(json.dumps(value, indent=2, ensure_ascii=False))


def talk(text: str) -> None:
    """Everything that is not data: one line to stderr."""
    sys.stderr.write(text + "\n")


async def _int(work: Callable[[], Awaitable[int]]) -> int:
    return await work()


async def _stage(
    settings: config.Settings, job: Callable[[Stage], Awaitable[None]], *, colours: bool
) -> None:
    from firehose_indexer.log import Log
    from firehose_indexer.ops.console import Console
    from firehose_indexer.ops.dump import dump
    from firehose_indexer.ops.stage import Stage
    from firehose_indexer.shutdown import Shutdown

    console = Console(sys.stderr, colours=colours)
    log = Log(settings.log_level, settings.log_format, stream=console, colours=colours)
    shutdown = Shutdown(settings.shutdown_seconds)
    shutdown.on(signal.SIGUSR1, lambda: dump(log.logger, {}))
    shutdown.on(signal.SIGUSR2, lambda: log.logger.warning("log.level", level_now=log.toggle_debug()))
    with log.installed(), shutdown.listening(asyncio.get_running_loop()):
        for notice in settings.notices:
            log.logger.warning("config.notice", notice=notice)
        try:
            await job(Stage(console, log, shutdown))
        finally:
            log.unfold()
