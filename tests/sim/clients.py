"""A plain client of a relay, to see what any subscriber would see."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from firehose_indexer.sim import wire
from firehose_indexer.sim.relay import Relay
from firehose_indexer.sim.wire import Emitted

DEADLINE = 10


def events(first: int, last: int, size: int = 0, accounts: int = 3) -> list[Emitted]:
    """Small #account events with these seqs, padded with ``size`` bytes."""
    return [
        Emitted(
            seq,
            f"did:plc:{seq % accounts}",
            wire.encode(
                "#account",
                {
                    "did": f"did:plc:{seq % accounts}",
                    "seq": seq,
                    "time": "",
                    "active": True,
                    "padding": bytes(size),
                },
            ),
        )
        for seq in range(first, last + 1)
    ]


@asynccontextmanager
async def subscribed(relay: Relay, cursor: int | str | None = None) -> AsyncIterator[ClientConnection]:
    query = "" if cursor is None else f"?cursor={cursor}"
    # A client that stops reading cannot see the answer to its close frame: it need not wait long for it.
    async with connect(
        f"{relay.url}{wire.ENDPOINT}{query}", max_size=None, compression=None, close_timeout=0.2
    ) as connection:
        # A live client is in place once the relay has counted it.
        async with asyncio.timeout(DEADLINE):
            while relay.clients == 0 and connection.close_code is None and cursor is None:
                await asyncio.sleep(0.001)
        yield connection


async def next_messages(connection: ClientConnection, count: int) -> list[bytes | str]:
    async with asyncio.timeout(DEADLINE):
        return [await connection.recv() for _ in range(count)]


async def until_closed(connection: ClientConnection) -> tuple[list[bytes | str], int | None]:
    """Everything that still comes, and the close code."""
    received: list[bytes | str] = []
    async with asyncio.timeout(DEADLINE):
        try:
            while True:
                received.append(await connection.recv())
        except ConnectionClosed:
            return received, connection.close_code


async def seqs(connection: ClientConnection, count: int) -> list[int]:
    return list(seqs_of(await next_messages(connection, count)))


def seqs_of(messages: list[bytes | str]) -> Iterator[int]:
    for message in messages:
        assert isinstance(message, bytes)
        yield wire.decode(message)[1]["seq"]
