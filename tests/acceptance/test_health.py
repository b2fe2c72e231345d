from __future__ import annotations

import asyncio
import re
import sys
from typing import Any

from firehose_indexer.sim import clock
from firehose_indexer.sim.network import Network
from firehose_indexer.sim.relay import Relay
from firehose_indexer.sim.world import World
from firehose_indexer.store.embedded import EmbeddedPostgres
from tests.acceptance.program import ROOT, running
from tests.database import throwaway_folder


def ready(status: int, _: dict[str, Any]) -> bool:
    return status == 200


def red_for(*codes: str):
    def holds(status: int, body: dict[str, Any]) -> bool:
        return status == 503 and any(reason["code"] in codes for reason in body["reasons"])

    return holds


async def test_ready_is_red_while_the_relay_is_gone_and_green_when_it_is_back(database):
    world = World(5, 10, now=clock.wall())
    relay = Relay()
    async with (
        relay,
        running("run", RELAY_URL=f"ws://127.0.0.1:{relay.port}", DATABASE_URL=database) as program,
    ):
        await program.until("/readyz", ready)
        await relay.__aexit__(None, None, None)
        await program.until("/readyz", red_for("source"))
        async with Relay(port=relay.port) as back:
            back.publish(next(iter(world)))
            await program.until("/readyz", ready)


async def test_ready_is_red_while_postgres_is_away_and_green_when_it_is_back():
    world = World(5, 10, now=clock.wall())
    with throwaway_folder() as folder:
        server = EmbeddedPostgres(folder, durable=False, elsewhere=folder / "elsewhere")
        await server.start()
        try:
            async with Network(world, world.document, rate=50.0) as network, asyncio.TaskGroup() as tasks:
                publishing = tasks.create_task(network.run())
                given = {"RELAY_URL": network.relay.url, "DATABASE_URL": server.url}
                async with running("run", **given) as program:
                    await program.until("/readyz", ready)
                    await server.stop("immediate")
                    await program.until("/readyz", red_for("lock", "writer", "database"))
                    assert (await program.ask("/healthz"))[0] == 200
                    await server.start()
                    stood = network.relay.newest
                    await program.until("/status", lambda _, body: (body["watermark"] or 0) > stood)
                    await program.until("/readyz", ready)
                publishing.cancel()
        finally:
            await server.stop("immediate")


async def test_an_embedded_server_that_dies_is_started_again_though_nothing_is_to_be_written():
    with throwaway_folder() as folder:
        async with Relay() as relay:
            given = {"RELAY_URL": f"ws://127.0.0.1:{relay.port}", "DATA_DIR": str(folder)}
            async with running("run", **given) as program:
                await program.until("/readyz", ready)
                other = EmbeddedPostgres(folder)
                await other.start()
                await other._pg_ctl("stop", "-m", "immediate", "-w")
                await program.said("database.restarted")
                await program.until("/readyz", ready)
                assert (await program.ask("/healthz"))[0] == 200
                program.process.terminate()
                assert await program.ended() == 0
                await other.stop("immediate")


async def test_the_health_check_of_the_container_is_one(database):
    dockerfile = (ROOT / "Dockerfile").read_text()
    command = re.search(r'CMD \["python", "-c", "(.*?)"\]\n', dockerfile)
    assert command is not None
    async with Relay() as relay:
        given = {"RELAY_URL": f"ws://127.0.0.1:{relay.port}", "DATABASE_URL": database}
        async with running("run", **given) as program:
            here = command[1].replace("http://127.0.0.1:2490", await program.address())
            assert await _succeeds(here)
            program.process.kill()
            await program.ended()
            assert not await _succeeds(here)


async def _succeeds(code: str) -> bool:
    checked = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stderr=asyncio.subprocess.DEVNULL
    )
    return await checked.wait() == 0
