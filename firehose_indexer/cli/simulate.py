"""``simulate`` and ``demo``: a small AT Protocol network on loopback, alone or with the indexer."""

# ruff: noqa: PLC0415  # what only one verb needs is imported by that verb

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from firehose_indexer.cli.call import Call
from firehose_indexer.cli.verb import verb
from firehose_indexer.config import Settings
from firehose_indexer.errors import ConfigError

if TYPE_CHECKING:
    from firehose_indexer.ops.stage import Stage
    from firehose_indexer.sim.network import Network

_Seed = Annotated[int, Parameter(metavar="N", help="The same seed gives the same network. [default 1]")]
_Accounts = Annotated[int, Parameter(metavar="N", help="How many accounts post, like and follow.")]
_Rate = Annotated[str, Parameter(metavar="N|max", help="Events a second. [default 50]")]
_Faults = Annotated[
    str, Parameter(metavar="PLAN", help="Faults, each once in so many events: drop=1000,stall=5000.")
]


def register(app: App) -> None:
    @verb(
        app,
        "Serve a simulated network, or a recording, as a relay on loopback.",
        "firehose-indexer simulate --port 2470 --accounts 200 --rate 100",
        "firehose-indexer simulate --from sample.frames.zst --port 2470",
    )
    def simulate(
        call: Call,
        *,
        port: Annotated[
            int, Parameter(metavar="N", help="The relay's port; 0 is any. [default 2470]")
        ] = 2470,
        plc_port: Annotated[int, Parameter(metavar="N", help="The PLC directory's port; 0 is any.")] = 0,
        from_file: Annotated[
            Path | None, Parameter(name="--from", metavar="FILE", help="Serve this recording instead.")
        ] = None,
        seed: _Seed = 1,
        accounts: _Accounts = 100,
        rate: _Rate = "50",
        faults: _Faults = "",
    ) -> None:
        from firehose_indexer.sim import network

        if from_file is not None and not from_file.is_file():
            raise ConfigError(f"there is no file {from_file}")
        pace = _rate(rate)

        async def job(stage: Stage) -> None:
            serving = network.simulate(
                port=port,
                plc_port=plc_port,
                from_file=from_file,
                seed=seed,
                accounts=accounts,
                rate=pace,
                faults=faults,
                announce=lambda started: _announce(stage, started),
            )
            try:
                await _until_asked(stage, serving)
            except OSError as error:
                raise ConfigError(
                    f"cannot listen on port {port}: {error.strerror or error}",
                    hint="--port 0 takes any free port",
                ) from None

        call.run(call.settings(), job)

    @verb(
        app,
        "Index a simulated network, with no network needed.",
        "firehose-indexer demo",
        "firehose-indexer demo --accounts 1000 --rate 500 --faults drop=1000",
        settings=("database", "batch", "server", "process"),
        more="The database is made afresh and removed at the end, unless --data-dir or\n--database-url says where to keep it.",
    )
    def demo(
        call: Call,
        settings: Settings,
        *,
        seed: _Seed = 1,
        accounts: _Accounts = 100,
        rate: _Rate = "50",
        faults: _Faults = "",
    ) -> None:
        from firehose_indexer import app as indexer
        from firehose_indexer.sim import clock
        from firehose_indexer.sim.network import Network, parse_faults
        from firehose_indexer.sim.world import World

        options = {"rate": _rate(rate), "faults": parse_faults(faults)}

        async def job(stage: Stage) -> None:
            world = World(seed, accounts, now=clock.wall())
            with _place(settings) as data_dir:
                async with Network.of_world(world, **options) as network:
                    _announce(stage, network)
                    stage.console.say(f"look inside with: firehose-indexer db psql --data-dir {data_dir}")
                    ours = replace(
                        settings, relay_url=(network.relay.url,), data_dir=data_dir, cursor_start="oldest"
                    )
                    indexing = indexer.run(
                        ours, console=stage.console, log=stage.log, shutdown=stage.shutdown
                    )
                    await _beside(network.run(), indexing)

        call.run(settings, job)


@contextmanager
def _place(settings: Settings) -> Iterator[Path]:
    """The demo's data folder. Another run is another network, so by default it has a folder of its own."""
    if settings.database_url is not None or "data_dir" in settings.origins:
        yield settings.data_dir
        return
    folder = Path(tempfile.mkdtemp(prefix="firehose-demo-"))
    folder.chmod(0o755)  # as root, the embedded server's user must get in
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _rate(text: str) -> float | None:
    """None is as fast as the slowest client reads."""
    if text == "max":
        return None
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < float("inf"):
        raise ConfigError(f"--rate is {text!r}, which is neither a positive number nor max")
    return rate


def _announce(stage: Stage, network: Network) -> None:
    stage.console.say(f"relay      {network.relay.url}")
    stage.console.say(f"plc        {network.directory.url}")


async def _until_asked(stage: Stage, serving: Awaitable[None]) -> None:
    """Serve until a signal asks to stop."""
    await _beside(serving, stage.shutdown.wait())


async def _beside(side: Awaitable[None], main: Awaitable[None]) -> None:
    """Run both until ``main`` is done; a failure of either ends both and is raised as itself."""
    try:
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(_task(side))
            await main
            running.cancel()
    except BaseExceptionGroup as group:
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from None
        raise


async def _task(work: Awaitable[None]) -> None:
    await work
