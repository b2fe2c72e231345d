"""The PLC directory into ``ix.identities``, whole: a job of its own (spec/services (a), PLC bulk import).

It holds the writer lock. It writes no records, but it makes an actor of every account in one transaction, and
an indexer that met one of them meanwhile would wait for all.
"""

from __future__ import annotations

import asyncio
import gzip
import io
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import zstandard

from firehose_indexer.config import Settings
from firehose_indexer.database import opened
from firehose_indexer.door import door, refuse_directory
from firehose_indexer.errors import ConfigError, IndexerError
from firehose_indexer.guard import OutboundRefused
from firehose_indexer.identity.bulk import (
    Imported,
    ImportFailed,
    Staged,
    Staging,
    import_directory,
    import_file,
)
from firehose_indexer.metrics import Metrics
from firehose_indexer.ops.stage import Stage
from firehose_indexer.records.registry import Registry
from firehose_indexer.store.plc_import import PlcImport

TOLD_SECONDS: Final = 10.0


async def import_plc(settings: Settings, file: Path | None, stage: Stage) -> None:
    """Import ``file``, or PLC_URL, until it is done or asked to stop; what came so far is kept.

    Raises IndexerError: ConfigError for a file that cannot be read, WriterLocked while an indexer runs.
    """
    if file is None:
        refuse_directory(settings)
    async with opened(settings, stage, Registry.discover()) as database, asyncio.TaskGroup() as tasks:
        staging = PlcImport(database.pool, ttl=settings.resolver_cache_ttl_hours * 3600.0)
        beside = [
            tasks.create_task(database.lock.keep(), name="lock"),
            tasks.create_task(database.keep(), name="server"),
        ]
        stopping = tasks.create_task(stage.shutdown.wait(), name="shutdown")
        importing = tasks.create_task(_import(settings, file, staging, stage), name="import")
        await asyncio.wait((importing, stopping), return_when=asyncio.FIRST_COMPLETED)
        importing.cancel()
        await asyncio.wait((importing,))
        for task in (*beside, stopping):
            task.cancel()
        if importing.cancelled():
            held = await staging.begun()
            stage.console.say(
                f"stopped with {held.operations:,} operations; the same command goes on from there"
            )


async def _import(settings: Settings, file: Path | None, staging: Staging, stage: Stage) -> None:
    told = _teller(stage)
    try:
        if file is None:
            async with door(settings, Metrics()) as outbound:
                done = await import_directory(outbound, settings.plc_url, staging, told=told)
        else:
            done = await import_file(_lines(file), staging, told=told)
    except (ImportFailed, OutboundRefused) as error:
        raise IndexerError(str(error), hint="the same command goes on from there") from error
    stage.console.say(_summed(done))


def _teller(stage: Stage) -> Callable[[Staged], None]:
    """Progress for people, not more often than they can read."""
    last = time.monotonic()

    def told(held: Staged) -> None:
        nonlocal last
        if time.monotonic() - last >= TOLD_SECONDS:
            last = time.monotonic()
            until = "" if held.until is None else f", until {held.until:%Y-%m-%d %H:%M:%S} UTC"
            stage.step("plc.staged", f"{held.operations:,} operations{until}")

    return told


def _summed(done: Imported) -> str:
    unreadable = f", {done.unreadable:,} lines unreadable" if done.unreadable else ""
    return f"imported {done.accounts:,} accounts from {done.operations:,} operations{unreadable}"


def _lines(file: Path) -> Iterator[bytes]:
    """The lines of an export, inflated. Raises ConfigError as soon as one cannot be read."""
    try:
        with file.open("rb") as raw:
            if file.suffix == ".gz":
                yield from gzip.GzipFile(fileobj=raw)
            elif file.suffix == ".zst":
                inflated = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
                yield from io.BufferedReader(inflated)
            else:
                yield from raw
    except (OSError, EOFError, zlib.error, zstandard.ZstdError) as error:
        raise ConfigError(f"cannot read {file}: {error}") from error
