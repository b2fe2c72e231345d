"""``record`` and ``replay``: frames to a file and back."""

# ruff: noqa: PLC0415  # what only one verb needs is imported by that verb

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from firehose_indexer.cli.call import Call
from firehose_indexer.cli.verb import verb
from firehose_indexer.config import Settings
from firehose_indexer.errors import ConfigError

if TYPE_CHECKING:  # verbs load it when they need it
    from firehose_indexer.ops.stage import Stage

_File = Annotated[Path, Parameter(help="The recording, *.frames.zst.")]


def register(app: App) -> None:
    @verb(
        app,
        "Save a relay's frames to a file, exactly as received.",
        "firehose-indexer record an-hour.frames.zst --seconds 3600",
        "firehose-indexer record sample.frames.zst --frames 10000",
        usage="FILE [OPTIONS]",
        settings=("source",),
    )
    def record(
        call: Call,
        file: _File,
        /,
        settings: Settings,
        *,
        seconds: Annotated[float | None, Parameter(metavar="N", help="Stop after this many seconds.")] = None,
        frames: Annotated[int | None, Parameter(metavar="N", help="Stop after this many frames.")] = None,
    ) -> None:
        from firehose_indexer import taping

        if file.exists():
            raise ConfigError(f"{file} is there already", hint="choose another name, or remove it")
        for name, number in (("--seconds", seconds), ("--frames", frames)):
            if number is not None and not number > 0:
                raise ConfigError(f"{name} is {number}, which is not positive")

        async def job(stage: Stage) -> None:
            await taping.record(
                settings,
                file,
                seconds=seconds,
                frames=frames,
                console=stage.console,
                log=stage.log,
                shutdown=stage.shutdown,
            )

        call.run(settings, job)

    @verb(
        app,
        "Index a recording instead of a relay.",
        "firehose-indexer replay an-hour.frames.zst",
        "firehose-indexer replay sample.frames.zst --speed 1 --data-dir ./trial",
        usage="FILE [OPTIONS]",
        settings=("database", "batch", "quarantine", "server", "process"),
    )
    def replay(
        call: Call,
        file: _File,
        /,
        settings: Settings,
        *,
        speed: Annotated[
            str, Parameter(metavar="N|max", help="Times the speed of life. [default max]")
        ] = "max",
        identities: Annotated[
            Path | None, Parameter(metavar="FILE", help="DID documents, one JSON per line.")
        ] = None,
        force: Annotated[
            bool, Parameter(negative="", help="Replay even into a database that follows another source.")
        ] = False,
    ) -> None:
        from firehose_indexer import app as indexer

        for path in (file, identities):
            if path is not None and not path.is_file():
                raise ConfigError(f"there is no file {path}")
        pace = _speed(speed)

        async def job(stage: Stage) -> None:
            await indexer.replay(
                settings,
                file,
                speed=pace,
                identities=identities,
                force=force,
                console=stage.console,
                log=stage.log,
                shutdown=stage.shutdown,
            )

        call.run(settings, job)


def _speed(text: str) -> float | None:
    """None is as fast as it goes."""
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise ConfigError(f"--speed is {text!r}, which is neither a positive number nor max")
    return speed
