"""A real Postgres for the tests: ``TEST_DATABASE_URL``, else a container, else the embedded one.

Every test gets a database of its own, copied from one template that was migrated once.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from firehose_indexer.database import generated_views
from firehose_indexer.records.registry import Registry
from firehose_indexer.store.embedded import EmbeddedPostgres
from firehose_indexer.store.migrations import migrate

IMAGE = "postgres:18"
_PREFIX = "firehose-test-"


@contextmanager
def postgres() -> Iterator[str]:
    """The DSN of a server on which we may create databases."""
    given = os.environ.get("TEST_DATABASE_URL")
    if given:
        yield given
    elif docker_runs():
        yield from _container_or_embedded()
    else:
        with embedded() as dsn:
            yield dsn


def docker_runs() -> bool:
    """Whether an engine answers; the command alone proves nothing."""
    if not (os.environ.get("DOCKER_HOST") or Path("/var/run/docker.sock").exists()):
        return False
    try:
        done = subprocess.run(
            ["docker", "version", "--format", "{{.Server.Version}}"],
            capture_output=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _container_or_embedded() -> Iterator[str]:
    from testcontainers.postgres import PostgresContainer

    container = PostgresContainer(
        IMAGE, username="indexer", password="indexer", dbname="atproto", driver=None
    )
    try:
        container.with_command("postgres -c fsync=off -c full_page_writes=off").start()
    except Exception as error:  # noqa: BLE001 (an engine without the image and without network: any of its errors)
        sys.stderr.write(f"no container of {IMAGE} ({error}); using the embedded Postgres\n")
        with embedded() as dsn:
            yield dsn
        return
    try:
        yield container.get_connection_url()
    finally:
        container.stop()


@contextmanager
def throwaway_folder() -> Iterator[Path]:
    """A temporary folder that the server's user can enter, also when the tests run as root."""
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def embedded() -> Iterator[str]:
    _sweep_leftovers()
    with throwaway_folder() as folder:
        server = EmbeddedPostgres(folder, durable=False, elsewhere=folder / "elsewhere")
        asyncio.run(server.start())
        try:
            yield server.url
        finally:
            asyncio.run(server.stop("immediate"))


def _sweep_leftovers() -> None:
    """Stop and remove what a killed test run left behind."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        owner = re.match(r"\d+", folder.name.removeprefix(_PREFIX))
        if folder.stat().st_uid != os.geteuid() or owner is None or _alive(int(owner[0])):
            continue
        pid_file = folder / "postgres" / "cluster" / "postmaster.pid"
        if pid_file.exists():
            pid = int(pid_file.read_text().split("\n", 1)[0])
            command = Path(f"/proc/{pid}/cmdline")
            if command.exists() and os.fsencode(folder) in command.read_bytes():
                os.kill(pid, signal.SIGQUIT)
        shutil.rmtree(folder, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def with_database(dsn: str, name: str) -> str:
    """``dsn`` for another database on the same server."""
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{name}"))


@contextmanager
def template(server: str) -> Iterator[str]:
    """The name of a migrated database to copy."""
    name = f"template_{uuid.uuid4().hex[:12]}"
    asyncio.run(_create_template(server, name))
    try:
        yield name
    finally:
        asyncio.run(_drop(server, name))


async def _create_template(server: str, name: str) -> None:
    await _execute(server, f'CREATE DATABASE "{name}"')
    await migrate(with_database(server, name), after=generated_views(Registry.discover()))


@asynccontextmanager
async def copy_of(server: str, source: str) -> AsyncIterator[str]:
    """The DSN of a fresh copy, dropped afterwards together with its connections."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    await _execute(server, f'CREATE DATABASE "{name}" TEMPLATE "{source}"')
    try:
        yield with_database(server, name)
    finally:
        await _drop(server, name)


async def _drop(server: str, name: str) -> None:
    await _execute(server, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


async def _execute(server: str, statement: str) -> None:
    connection = await asyncpg.connect(server)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@asynccontextmanager
async def as_powerless_user(dsn: str) -> AsyncIterator[str]:
    """``dsn`` for a user who may connect and nothing else."""
    name = f"guest_{uuid.uuid4().hex[:12]}"
    await _execute(dsn, f"CREATE USER {name} PASSWORD 'guest'")
    parts = urlsplit(dsn)
    host = parts.netloc.rpartition("@")[2]
    try:
        yield urlunsplit(parts._replace(netloc=f"{name}:guest@{host}"))
    finally:
        await _execute(dsn, f"DROP OWNED BY {name}; DROP USER {name}")
