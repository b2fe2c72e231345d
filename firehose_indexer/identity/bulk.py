"""The whole PLC directory at once, from its export or a file of the same lines (spec/services (a))."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final, NamedTuple, Protocol

from firehose_indexer.answers import Answer
from firehose_indexer.guard import OutboundFailed
from firehose_indexer.identity.operations import Operation, parse_operation
from firehose_indexer.identity.outcome import Unanswered
from firehose_indexer.identity.plc import raise_unanswered
from firehose_indexer.outbound import Outbound

PAGE: Final = 1000
PAGE_BYTES: Final = 16 * 1024 * 1024
PAGE_SECONDS: Final = 60.0
PAUSE_SECONDS: Final = 0.5
"""At most two requests a second."""
ATTEMPTS: Final = 8
_OVERLAP: Final = timedelta(milliseconds=1)


class Staged(NamedTuple):
    """How far an import has come: operations held, and the time of the newest."""

    operations: int
    until: datetime | None


class Staging(Protocol):
    """Where an import gathers, in the database; what it holds survives us."""

    async def begun(self) -> Staged: ...

    async def stage(self, operations: Sequence[Operation], until: datetime | None) -> None: ...

    async def merge(self) -> int:
        """Make the last operation of each DID its identity, unless a newer one is known; how many there were."""
        ...


class Imported(NamedTuple):
    """``unreadable``: lines that are no operation."""

    accounts: int
    operations: int
    unreadable: int


class ImportFailed(Exception):
    """The directory does not answer; what was staged is kept, and the import goes on from there."""


class Page(NamedTuple):
    """The good lines of a page. ``last``: there was not more to be had."""

    operations: list[Operation]
    until: datetime | None
    unreadable: int
    last: bool


async def import_directory(
    outbound: Outbound,
    plc_url: str,
    staging: Staging,
    *,
    page: int = PAGE,
    told: Callable[[Staged], None] = lambda _: None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Imported:
    """Page through ``{plc_url}/export``, resuming where an earlier call ended. Raises ImportFailed."""
    count, until = await staging.begun()
    pages = _pages(outbound, plc_url.rstrip("/"), until, page, sleep)
    return await _import(pages, staging, count, told)


async def import_file(
    lines: Iterator[bytes],
    staging: Staging,
    *,
    page: int = 10 * PAGE,
    told: Callable[[Staged], None] = lambda _: None,
) -> Imported:
    """A downloaded export, inflated and in its order. What an earlier call has staged is passed over."""
    count, until = await staging.begun()
    return await _import(_file_pages(lines, until, page), staging, count, told)


async def _import(
    pages: AsyncIterator[Page], staging: Staging, count: int, told: Callable[[Staged], None]
) -> Imported:
    seen: set[tuple[str, str]] = set()
    unreadable = 0
    async for page in pages:
        # Pages overlap, because one millisecond may hold more operations than were left to a page.
        fresh = [one for one in page.operations if (one.did, one.cid) not in seen]
        seen = {(one.did, one.cid) for one in page.operations}
        await staging.stage(fresh, page.until)
        count += len(fresh)
        unreadable += page.unreadable
        told(Staged(count, page.until))
    return Imported(await staging.merge(), count, unreadable)


async def _pages(
    outbound: Outbound,
    plc_url: str,
    until: datetime | None,
    size: int,
    sleep: Callable[[float], Awaitable[None]],
) -> AsyncIterator[Page]:
    overlap = _OVERLAP
    while True:
        begun = time.monotonic()
        params = {"count": str(size)}
        if until is not None:
            params["after"] = _text(until - overlap)
        answer = await _ask(outbound, f"{plc_url}/export", params, sleep)
        page = _page(answer.body.splitlines(), until, size)
        yield page
        if page.last:
            return
        # A page full of one instant: step over it rather than ask for it for ever.
        if page.until == until and not overlap:
            raise ImportFailed(f"{plc_url}: the export does not advance beyond {until}")
        overlap = timedelta(0) if page.until == until else _OVERLAP
        until = page.until
        await sleep(max(0.0, PAUSE_SECONDS - (time.monotonic() - begun)))


async def _ask(
    outbound: Outbound, url: str, params: dict[str, str], sleep: Callable[[float], Awaitable[None]]
) -> Answer:
    for attempt in range(ATTEMPTS):
        pause = 0.0
        try:
            answer = await outbound.get(url, limit=PAGE_BYTES, seconds=PAGE_SECONDS, params=params)
            raise_unanswered(answer)
            if answer.status != 200:
                raise ImportFailed(f"{url}: HTTP {answer.status}")
        except (OutboundFailed, Unanswered) as error:
            said = str(error)
            pause = getattr(error, "retry_after", None) or 0.0
        else:
            return answer
        if attempt + 1 < ATTEMPTS:
            await sleep(min(300.0, max(pause, random.uniform(0.5, 1.0) * min(60.0, 2.0**attempt))))
    raise ImportFailed(f"{url}: {said}")


async def _file_pages(lines: Iterator[bytes], staged: datetime | None, size: int) -> AsyncIterator[Page]:
    until = staged
    while some := await asyncio.to_thread(lambda: list(islice(lines, size))):
        page = _page(some, until, len(some) + 1)
        until = page.until
        fresh = [one for one in page.operations if staged is None or one.created_at >= staged]
        yield page._replace(operations=fresh)


def _page(lines: Iterable[bytes], before: datetime | None, size: int) -> Page:
    operations: list[Operation] = []
    until, unreadable, count = before, 0, 0
    for line in lines:
        if not line.strip():
            continue
        count += 1
        try:
            operation = parse_operation(line)
        except ValueError:
            unreadable += 1
            continue
        until = operation.created_at if until is None else max(until, operation.created_at)
        if not operation.nullified:
            operations.append(operation)
    return Page(operations, until, unreadable, last=count < size)


def _text(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
