"""One look at a stream: connect, read the first event, leave."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from firehose_indexer.errors import FrameError, RelayRefused
from firehose_indexer.ops.rewind import Mark
from firehose_indexer.stream.events import Account, Commit, ErrorFrame, Identity, Sync
from firehose_indexer.stream.frames import parse
from firehose_indexer.stream.source import Source
from firehose_indexer.stream.transport import ClosedError, Dialing, RefusedError, UnreachableError, opened
from firehose_indexer.version import NAME, version

PROBE_SECONDS = 20.0


async def first_event(source: Source, cursor: int | None) -> Mark:
    """The first event that ``source`` sends for ``cursor``; None is its live tail.

    Raises RelayRefused, also when nothing comes for 20 s.
    """
    dialing = Dialing(user_agent=f"{NAME}/{version()}")
    try:
        async with asyncio.timeout(PROBE_SECONDS), opened(source.at(cursor), dialing) as connection:
            while True:
                for message in await connection.receive(PROBE_SECONDS):
                    mark = _mark(source, message)
                    if mark is not None:
                        return mark
    except TimeoutError:
        raise RelayRefused(f"{source.url} sent no event for {PROBE_SECONDS:.0f} s") from None
    except RefusedError as error:
        raise RelayRefused(f"{source.url} answered HTTP {error.status}") from None
    except UnreachableError as error:
        raise RelayRefused(
            f"cannot reach {source.url}: {error}", hint="check RELAY_URL and the network"
        ) from None
    except ClosedError as error:
        raise RelayRefused(f"{source.url} closed the connection with {error.code} {error.detail}") from None


def _mark(source: Source, message: bytes | str) -> Mark | None:
    try:
        event = parse(message)
    except FrameError:
        return None
    if isinstance(event, ErrorFrame):
        raise RelayRefused(f"{source.url} says {event.error}: {event.message}")
    if not isinstance(event, Commit | Sync | Identity | Account):
        return None
    try:
        at = datetime.fromisoformat(event.time)
    except ValueError:
        return None
    return Mark(event.seq, at if at.tzinfo else at.replace(tzinfo=UTC))
