"""The real indexer, which kills itself at a named point: ``driver.py POINT HIT``.

The points are the writer's checkpoints, and ``looking``: ``after rows`` of an attempt that looked at its tables
first. Everything else is ``firehose-indexer run``, with its settings from the environment.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

from firehose_indexer import app, config
from firehose_indexer.log import Log
from firehose_indexer.ops.console import Console
from firehose_indexer.shutdown import Shutdown
from firehose_indexer.store.writer import Checkpoint, Writer


def killing(point: str, hit: int) -> Checkpoint:
    """A checkpoint that ends the process, without any farewell, on the given hit of the point."""
    hits = 0
    looking = watch_looking()

    async def checkpoint(name: str) -> None:
        nonlocal hits
        if name == point or (point == "looking" and name == "after rows" and looking()):
            hits += 1
            if hits == hit:
                os.kill(os.getpid(), signal.SIGKILL)

    return checkpoint


def watch_looking() -> Any:
    """Tells whether the attempt being written looks at tables before it writes."""
    write, looked = Writer.write, [False]

    async def watched(self: Writer, connection: Any, batch: Any, look: Any) -> Any:
        looked[0] = bool(look)
        return await write(self, connection, batch, look)

    Writer.write = watched  # type: ignore[method-assign]
    return lambda: looked[0]


async def main(point: str, hit: int) -> None:
    settings = config.load()
    console, shutdown = Console(sys.stderr), Shutdown(settings.shutdown_seconds)
    log = Log(settings.log_level, "json", stream=console)
    with shutdown.listening(asyncio.get_running_loop()):
        await app.run(settings, console=console, log=log, shutdown=shutdown, checkpoint=killing(point, hit))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
