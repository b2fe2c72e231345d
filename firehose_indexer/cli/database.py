"""``migrate`` and ``db``: the database, embedded or not."""

# ruff: noqa: PLC0415  # what only one verb needs is imported by that verb

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple
from urllib.parse import unquote, urlsplit, urlunsplit

from cyclopts import App, Group, Parameter

from firehose_indexer import config
from firehose_indexer.cli.call import Call, show, show_json, talk
from firehose_indexer.cli.page import PlainPage
from firehose_indexer.cli.verb import Json, top, verb
from firehose_indexer.config import Settings
from firehose_indexer.errors import ConfigError
from firehose_indexer.version import version

if TYPE_CHECKING:
    from firehose_indexer.store.lock import WriterLock

_DB = "Reach the database, embedded or not."


class Opened(NamedTuple):
    """A database that answers. ``programs`` is the folder of the embedded server's programs."""

    dsn: str
    programs: Path | None


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Opened]:
    """The database of the settings; an embedded server that nobody else uses stops at the end."""
    if settings.database_url is not None:
        yield Opened(settings.database_url, None)
        return
    from firehose_indexer.store.embedded import EmbeddedPostgres

    server = EmbeddedPostgres(settings.data_dir, progress=lambda line: talk(f"  {line}") if line else None)
    await server.start()
    try:
        yield Opened(server.url, server.bin_dir)
    finally:
        await server.stop()


@asynccontextmanager
async def locked(dsn: str) -> AsyncIterator[WriterLock]:
    """The writer lock, as far as it goes without a schema. Raises WriterLocked."""
    from firehose_indexer.database import SHARD
    from firehose_indexer.store.lock import WriterLock

    lock = WriterLock(dsn, SHARD, version=version())
    await lock.acquire()
    try:
        yield lock
    finally:
        await lock.release()


def register(app: App) -> None:
    @verb(
        app,
        "Bring the database's schema to this version.",
        "firehose-indexer migrate",
        "firehose-indexer migrate --status",
        settings=("database",),
    )
    def migrate(
        call: Call,
        settings: Settings,
        *,
        status: Annotated[
            bool, Parameter(negative="", help="Only say what is applied and what is not.")
        ] = False,
        json: Json = False,
    ) -> int:
        return call.wait_for(lambda: _migrate(settings, status=status, json=json))

    db = App(
        name="db",
        help=_DB,
        usage=top(
            _DB, "firehose-indexer db", "VERB", ["firehose-indexer db psql", "firehose-indexer db url"]
        ),
        help_formatter=PlainPage(),
        help_format="plaintext",
        version_flags=(),
        group_commands=Group("Verbs", sort_key=0),
        group_parameters=Group("Options", sort_key=1),
    )
    app.command(db)

    @verb(
        db,
        "Print the URL of the database, password included.",
        "firehose-indexer db url",
        'pg_dump "$(firehose-indexer db url)" > backup.sql',
        settings=("database",),
    )
    def url(call: Call, settings: Settings) -> int:
        return call.wait_for(lambda: _url(settings))

    @verb(
        db,
        "Open psql on the database; what follows -- goes to psql.",
        "firehose-indexer db psql",
        "firehose-indexer db psql -- -c 'select count(*) from appview.posts'",
        usage="[OPTIONS] [-- ARGS]",
        settings=("database",),
    )
    def psql(
        call: Call,
        *args: Annotated[str, Parameter(allow_leading_hyphen=True, help="Arguments of psql.")],
        settings: Settings,
    ) -> int:
        return call.wait_for(lambda: _psql(settings, args))


async def _migrate(settings: Settings, *, status: bool, json: bool) -> int:
    from firehose_indexer.database import generated_views
    from firehose_indexer.records.registry import Registry
    from firehose_indexer.store import migrations

    generated = generated_views(Registry.discover())
    async with opened(settings) as database:
        if status:
            found = await migrations.status(database.dsn, after=generated)
        else:
            async with locked(database.dsn):
                found = await migrations.migrate(database.dsn, after=generated)
    if json:
        show_json({"applied": found.applied, "pending": found.pending, "views_current": found.views_current})
        return 0
    for name in found.applied:
        show(f"applied  {name}")
    for name in found.pending:
        show(f"pending  {name}")
    if not status:
        talk(f"{len(found.applied)} migrations applied" if found.applied else "the schema was current")
    return 0


async def _url(settings: Settings) -> int:
    async with opened(settings) as database:
        show(database.dsn)
    return 0


async def _psql(settings: Settings, args: tuple[str, ...]) -> int:
    async with opened(settings) as database:
        beside = None if database.programs is None else shutil.which("psql", path=str(database.programs))
        program = beside or shutil.which("psql", path=config.search_path())
        if program is None:
            raise ConfigError(
                "psql is not installed", hint="install the PostgreSQL client, for example postgresql-client"
            )
        dsn, secret = without_password(database.dsn)
        environment = config.child_environment({"PGPASSWORD": secret} if secret else {})
        # Blocking on purpose: nothing else runs, and Ctrl-C is for psql, which sets its own handler.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            done = subprocess.run([program, dsn, *args], env=environment, check=False)  # noqa: ASYNC221
        finally:
            signal.signal(signal.SIGINT, before)
        return done.returncode


def without_password(dsn: str) -> tuple[str, str]:
    """The DSN as it may stand in a process list, and the password."""
    parts = urlsplit(dsn)
    credentials, at, host = parts.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    return urlunsplit(parts._replace(netloc=user + at + host)), unquote(password)
