"""What may keep the indexer from running well, looked at before or beside it (style C.3).

Each check returns findings; the same objects are printed as lines and as JSON. Nothing is changed: no
server is started, no migration applied.
"""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from firehose_indexer.config import Settings
from firehose_indexer.door import door, names, refuse_directory
from firehose_indexer.errors import IndexerError
from firehose_indexer.guard import OutboundError
from firehose_indexer.identity.document import MAX_DOCUMENT
from firehose_indexer.identity.network import ATTEMPT_SECONDS
from firehose_indexer.identity.outcome import Unanswered
from firehose_indexer.identity.plc import raise_unanswered
from firehose_indexer.masking import mask
from firehose_indexer.metrics import Metrics
from firehose_indexer.names import NoSuchName
from firehose_indexer.ops.probe import first_event
from firehose_indexer.store import migrations
from firehose_indexer.store.binaries import find_binaries
from firehose_indexer.store.inspect import inspect
from firehose_indexer.stream.source import parse_source

GOOD, CONSIDER, BAD = "good", "consider", "bad"
CATEGORIES = ("environment", "config", "database", "relay", "identity", "http")
NETWORKED = {"relay", "identity"}
_CHECK_SECONDS = 30.0
_GIB = 1 << 30
_CLOCK_SECONDS = 5.0
_KNOWN_DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
_KNOWN_TXT = "_atproto.atproto.com"


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact. ``remedy`` is empty when there is nothing to do."""

    category: str
    severity: str
    message: str
    remedy: str = ""


Check = Callable[[Settings], Awaitable[list[Finding]]]


async def examine(settings: Settings, *, checks: Sequence[tuple[str, Check]]) -> list[Finding]:
    """Run every check; one that fails or hangs is itself a finding."""
    found: list[Finding] = []
    for category, check in checks:
        try:
            async with asyncio.timeout(_CHECK_SECONDS):
                found += await check(settings)
        except TimeoutError:
            found.append(Finding(category, BAD, f"no answer within {_CHECK_SECONDS:.0f} s"))
        except (IndexerError, OSError) as error:
            hint = error.hint if isinstance(error, IndexerError) else ""
            found.append(Finding(category, BAD, mask(" ".join(str(error).split())), mask(hint)))
    return found


def checks(*, offline: bool, only: str = "") -> list[tuple[str, Check]]:
    """The checks to run, in the order of the report."""
    every: list[tuple[str, Check]] = [
        ("environment", environment),
        ("config", configuration),
        ("database", database),
        ("relay", relay),
        ("identity", identity),
        ("http", http),
    ]
    return [
        (name, check) for name, check in every if only in {"", name} and not (offline and name in NETWORKED)
    ]


async def environment(settings: Settings) -> list[Finding]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    free = shutil.disk_usage(_nearest(settings.data_dir)).free
    place = settings.data_dir.absolute()
    found = [
        Finding(
            "environment",
            GOOD,
            f"Python {platform.python_version()}, {os.cpu_count()} cores, {memory / _GIB:.0f} GB RAM,"
            f" {free / _GIB:,.0f} GB free in {place}",
        )
    ]
    if free < 20 * _GIB:
        found.append(
            Finding(
                "environment", CONSIDER, "less than 20 GB are free", "the network writes some 10 GB a day"
            )
        )
    if memory < 2 * settings.memory_mb << 20:
        found.append(
            Finding(
                "environment",
                CONSIDER,
                f"MEMORY_MB is {settings.memory_mb}, over half of the RAM",
                "lower MEMORY_MB",
            )
        )
    return found


async def configuration(settings: Settings) -> list[Finding]:
    for url in settings.relay_url:
        parse_source(url, allow_insecure=settings.stream_allow_insecure)
    given = len(settings.origins)
    found = [
        Finding("config", GOOD, f"{given} settings given, the rest are defaults" if given else "all defaults")
    ]
    found += [Finding("config", CONSIDER, notice, "remove it") for notice in settings.notices]
    if settings.verify == "off":
        found.append(Finding("config", CONSIDER, "VERIFY is off: rows are not proven to be their authors'"))
    return found


async def database(settings: Settings) -> list[Finding]:
    if settings.database_url is None:
        return _embedded(settings.data_dir)
    server = await inspect(settings.database_url)
    found = [Finding("database", GOOD, f"PostgreSQL {server.version} at {mask(settings.database_url)}")]
    schema = await migrations.status(settings.database_url)
    found.append(_schema(schema.applied, schema.pending, will_migrate=settings.migrate))
    if not server.may_create and schema.pending:
        found.append(
            Finding("database", BAD, "our user may not create a schema", "GRANT CREATE ON DATABASE … TO …")
        )
    if server.max_connections < settings.db_pool_size + 5:
        found.append(
            Finding(
                "database",
                BAD,
                f"DB_POOL_SIZE is {settings.db_pool_size}, the server allows {server.max_connections} connections",
                "lower DB_POOL_SIZE, or raise max_connections",
            )
        )
    if server.max_wal_mb < 4096:
        found.append(
            Finding(
                "database", CONSIDER, f"max_wal_size is {server.max_wal_mb} MB", "8GB suits this write rate"
            )
        )
    return found


async def relay(settings: Settings) -> list[Finding]:
    found = []
    for url in settings.relay_url:
        source = parse_source(url, allow_insecure=settings.stream_allow_insecure)
        began = asyncio.get_running_loop().time()
        event = await first_event(source, None)
        took = asyncio.get_running_loop().time() - began
        found.append(Finding("relay", GOOD, f"{source.url} sent an event within {took:.1f} s"))
        ahead = (datetime.now(UTC) - event.time).total_seconds()
        if abs(ahead) > _CLOCK_SECONDS:
            found.append(
                Finding(
                    "relay",
                    CONSIDER,
                    f"our clock and the relay's last event are {ahead:+.0f} s apart",
                    "set the clock, for example with chrony",
                )
            )
    return found


async def identity(settings: Settings) -> list[Finding]:
    """Whether the directory and the DNS answer, with whatever. Without proof nothing depends on them."""
    refuse_directory(settings)
    failing = CONSIDER if settings.verify == "off" else BAD
    return [await _directory(settings, failing), await _dns(settings, failing)]


async def http(settings: Settings) -> list[Finding]:
    """Whether the port is free. It is not while an indexer runs here, which is fine."""
    bind = settings.http_bind
    family = socket.AF_INET6 if ":" in bind.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((bind.host, bind.port))
        except OSError as error:
            return [
                Finding(
                    "http",
                    CONSIDER,
                    f"{bind}: {error.strerror}",
                    "if no indexer runs here, choose another HTTP_BIND",
                )
            ]
    return [Finding("http", GOOD, f"{bind} is free")]


def as_json(found: Sequence[Finding]) -> list[dict[str, Any]]:
    return [asdict(one) for one in found]


async def _directory(settings: Settings, failing: str) -> Finding:
    url, began = f"{settings.plc_url}/{_KNOWN_DID}", asyncio.get_running_loop().time()
    try:
        async with door(settings, Metrics()) as outbound:
            answer = await outbound.get(url, limit=MAX_DOCUMENT, seconds=ATTEMPT_SECONDS)
        raise_unanswered(answer)
    except (OutboundError, Unanswered) as error:
        return Finding("identity", failing, f"{settings.plc_url}: {error}", "check PLC_URL and the network")
    took = asyncio.get_running_loop().time() - began
    return Finding("identity", GOOD, f"{settings.plc_url} answered in {took * 1000:.0f} ms")


async def _dns(settings: Settings, failing: str) -> Finding:
    servers = ", ".join(settings.dns_servers or ("the system's DNS",))
    began = asyncio.get_running_loop().time()
    try:
        await names(settings).texts(_KNOWN_TXT)
    except NoSuchName:
        return Finding(
            "identity",
            CONSIDER,
            f"{servers} knows no TXT record {_KNOWN_TXT}",
            "set DNS_SERVERS to servers that know the whole network",
        )
    except OSError as error:
        return Finding(
            "identity",
            failing,
            f"{servers}: no TXT record ({error or type(error).__name__})",
            "check DNS_SERVERS",
        )
    took = asyncio.get_running_loop().time() - began
    return Finding("identity", GOOD, f"{servers} answered for a TXT record in {took * 1000:.0f} ms")


def _embedded(data_dir: Path) -> list[Finding]:
    programs = find_binaries()
    cluster = data_dir.absolute() / "postgres" / "cluster"
    state = f"a database in {cluster}" if cluster.exists() else f"none yet in {data_dir.absolute()}"
    return [Finding("database", GOOD, f"embedded PostgreSQL {programs.version}, {state}")]


def _schema(applied: Sequence[str], pending: Sequence[str], *, will_migrate: bool) -> Finding:
    total = len(applied) + len(pending)
    if not pending:
        return Finding("database", GOOD, f"{total}/{total} migrations applied")
    message = f"{len(applied)}/{total} migrations applied"
    if will_migrate:
        return Finding("database", GOOD, message + ", the next start applies the rest")
    return Finding("database", BAD, message + ", and MIGRATE is 0", "firehose-indexer migrate")


def _nearest(path: Path) -> Path:
    """The closest folder above ``path`` that exists."""
    return next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
