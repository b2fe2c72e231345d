"""A PostgreSQL server of our own, in the data folder: no installation, no TCP port, no password.

    {data_dir}/postgres/
        cluster/        the database cluster, of the server's user, 0700
        install-18.6/   a copy of the programs, when we are root
        log/            a week of server logs
        run/            the socket; in the system's temporary folder when this path is too long
        start.lock      held while the server is started or stopped
        in-use.lock     held, shared, by every process that uses the server: the last one stops it

A server that outlived its indexer (kill -9) is adopted; one that died is started again.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import asyncpg

from firehose_indexer.errors import DatabaseError
from firehose_indexer.store.server_home import ServerHome
from firehose_indexer.store.server_user import ELSEWHERE

START_SECONDS = 3600  # recovery after a power cut replays up to max_wal_size
STOP_SECONDS = 120
ORPHAN_SECONDS = 15
MAX_RESTARTS, RESTART_WINDOW = 5, 600.0
USER, DATABASE = "indexer", "atproto"


class EmbeddedPostgres:
    """The embedded server of one data folder.

    ``start`` and ``stop`` pair up; several processes may use one server. ``progress`` receives short
    lines worth showing while a start takes long. ``durable=False`` is for throw-away clusters.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        bin_dir: Path | None = None,
        durable: bool = True,
        progress: Callable[[str], None] = lambda _line: None,
        elsewhere: Path = ELSEWHERE,
    ) -> None:
        self._data_dir = data_dir
        self._bin_dir = bin_dir
        self._durable = durable
        self._progress = progress
        self._elsewhere = elsewhere
        self._home: ServerHome | None = None
        self._in_use: int | None = None
        self._restarts: deque[float] = deque()

    @property
    def url(self) -> str:
        """A DSN for asyncpg and libpq. Known once ``start`` was called."""
        return f"postgresql://{USER}@/{DATABASE}?host={quote(str(self._here.socket_dir), safe='')}&port=5432"

    @property
    def version(self) -> str:
        """The programs' version, ``18.6``. Known once ``start`` was called."""
        return self._here.binaries.version

    @property
    def home(self) -> Path:
        """Where cluster, logs and socket are. Known once ``start`` was called."""
        return self._here.home

    @property
    def bin_dir(self) -> Path:
        """Where ``psql`` and ``pg_dump`` of the server's own version are."""
        return self._here.binaries.bin

    async def start(self) -> None:
        """Start the server, or adopt the running one, and wait until it answers.

        Raises DatabaseError: no programs, another major version, another user's data, a failed start.
        """
        if self._in_use is not None:
            return
        self._home = ServerHome.of(self._data_dir, self._bin_dir, self._elsewhere)
        async with self._starting():
            if self._here.postmaster() is None and self._used_by_others():
                raise DatabaseError(
                    f"another process uses {self._here.home}, but its server is not to be seen from here",
                    hint="stop the other container or host that has this data folder",
                )
            await self._up()
            self._in_use = _locked(self._here.home / "in-use.lock", fcntl.LOCK_SH)
            await self._create_database()

    async def ensure_running(self) -> bool:
        """Start the server again if it died; True if that was so.

        Raises DatabaseError when it keeps dying.
        """
        if self._here.postmaster() is not None:
            return False
        now = time.monotonic()
        while self._restarts and now - self._restarts[0] > RESTART_WINDOW:
            self._restarts.popleft()
        if len(self._restarts) >= MAX_RESTARTS:
            raise DatabaseError(
                f"the embedded PostgreSQL died {MAX_RESTARTS} times within {RESTART_WINDOW / 60:.0f} minutes",
                hint=f"its log says why: {self._here.log_dir}",
            )
        self._restarts.append(now)
        async with self._starting():
            await self._up()
        return True

    async def stop(self, mode: str = "fast") -> None:
        """Leave the server; the last one to leave stops it, in pg_ctl's ``mode``.

        A server that takes longer than the deadline over its last checkpoint finishes by itself.
        """
        if self._in_use is None:
            return
        async with self._starting():
            os.close(self._in_use)
            self._in_use = None
            if self._used_by_others() or self._here.postmaster() is None:
                return
            try:
                await self._pg_ctl("stop", "-m", mode, "-w", "-t", str(STOP_SECONDS))
            except DatabaseError:
                if self._here.postmaster() is not None:
                    self._progress("the embedded server is still writing; it will stop by itself")

    @property
    def _here(self) -> ServerHome:
        if self._home is None:
            raise RuntimeError("the embedded server was not started")
        return self._home

    @asynccontextmanager
    async def _starting(self) -> AsyncIterator[None]:
        """One process at a time starts or stops the server."""
        deadline = time.monotonic() + START_SECONDS
        while (lock := _locked(self._here.home / "start.lock", fcntl.LOCK_EX)) is None:
            if time.monotonic() > deadline:
                raise DatabaseError(
                    f"another process has been starting the server in {self._here.home} too long"
                )
            await asyncio.sleep(0.1)
        try:
            yield
        finally:
            os.close(lock)

    def _used_by_others(self) -> bool:
        lock = _locked(self._here.home / "in-use.lock", fcntl.LOCK_EX)
        if lock is None:
            return True
        os.close(lock)
        return False

    async def _up(self) -> None:
        here = self._here
        if here.postmaster() is None:
            await self._clear_stale_pid()
            if not here.cluster.exists():
                await self._initdb()
            self._refuse_other_major()
            here.user.own(here.socket_dir)
            here.write_settings(durable=self._durable)
            await self._pg_ctl("start", "-l", str(here.log_dir / "start.log"), "-w", "-t", str(START_SECONDS))
        await self._answering()

    async def _clear_stale_pid(self) -> None:
        """Remove the pid files of a server that was killed.

        PostgreSQL does so itself, unless the number still belongs to a process of the same user: to another
        one, or to a dead one that nobody waited for; in a container that is usual. Server processes without a postmaster end within seconds;
        while one lives the file stays, and PostgreSQL refuses to start.
        """
        deadline = time.monotonic() + ORPHAN_SECONDS
        while self._here.orphans():
            if time.monotonic() > deadline:
                return
            await asyncio.sleep(0.1)
        self._here.forget_postmaster()

    async def _initdb(self) -> None:
        """Make the cluster aside and rename it, so that a half-made one is never taken for one."""
        here = self._here
        unfinished = here.home / "cluster.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        here.user.own(unfinished)
        # A collation of PostgreSQL's own: an upgrade of the C library leaves the indexes right.
        builtin = (
            ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"] if here.binaries.major >= 17 else []
        )
        durable = ["--data-checksums"] if self._durable else ["--no-sync"]
        await self._run(
            here.binaries.program("initdb"),
            f"--pgdata={unfinished}",
            f"--username={USER}",
            "--auth=trust",  # the socket's folder is the door
            "--encoding=UTF8",
            "--locale=C",
            *builtin,
            *durable,
            deadline=300,
        )
        with (unfinished / "postgresql.conf").open("a") as conf:
            conf.write("\ninclude 'firehose.conf'\n")
        unfinished.rename(here.cluster)

    def _refuse_other_major(self) -> None:
        here = self._here
        found = int((here.cluster / "PG_VERSION").read_text())
        ours = here.binaries.major
        if found != ours:
            old, new = here.home / f"cluster.{found}", here.cluster
            raise DatabaseError(
                f"the database in {here.cluster} was made by PostgreSQL {found}, the programs here are {ours}",
                hint=(
                    f"with PostgreSQL {found}'s programs in OLD, as the folder's owner:\n"
                    f"    mv {new} {old}\n"
                    f"    {here.binaries.program('initdb')} -D {new} -U {USER} --auth=trust -E UTF8"
                    " --locale=C --locale-provider=builtin --builtin-locale=C.UTF-8\n"
                    f"    {here.binaries.program('pg_upgrade')} -b OLD -B {here.binaries.bin}"
                    f" -d {old} -D {new} -U {USER}\n"
                    f"    echo \"include 'firehose.conf'\" >> {new}/postgresql.conf"
                ),
            )

    async def _answering(self) -> None:
        """Wait until the running server accepts connections (an adopted one may be recovering)."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                connection = await self._connect("postgres")
            except (OSError, asyncpg.PostgresError, TimeoutError) as error:
                if self._here.postmaster() is None or time.monotonic() > deadline:
                    raise self._failed("the embedded PostgreSQL does not answer", str(error)) from error
                self._progress(self._here.last_progress())
                await asyncio.sleep(0.2)
            else:
                await connection.close(timeout=10)
                return

    async def _connect(self, database: str) -> asyncpg.Connection:
        return await asyncpg.connect(
            host=str(self._here.socket_dir), port=5432, user=USER, database=database, timeout=10
        )

    async def _create_database(self) -> None:
        connection = await self._connect("postgres")
        try:
            if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", DATABASE):
                await connection.execute(f'CREATE DATABASE "{DATABASE}"')
        finally:
            await connection.close(timeout=10)

    async def _pg_ctl(self, verb: str, *arguments: str) -> None:
        here = self._here
        await self._run(
            here.binaries.program("pg_ctl"),
            "-D",
            str(here.cluster),
            verb,
            *arguments,
            deadline=START_SECONDS + 60,
        )

    async def _run(self, *command: str, deadline: float) -> None:
        """Run a program as the server's user, telling its progress. Raises DatabaseError if it fails.

        Its output goes to a file: the server inherits it, so a pipe would never end.
        """
        with tempfile.TemporaryFile("w+") as output:
            process = subprocess.Popen(  # noqa: ASYNC220 (returns at once; asyncio's cannot switch users under uvloop)
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self._here.home,
                env={"PATH": os.defpath, "LC_ALL": "C"},
                start_new_session=True,  # Ctrl-C is for us, not for a server in recovery
                **self._here.user.popen,
            )
            try:
                async with asyncio.timeout(deadline):
                    await self._ended(process)
            except BaseException:
                process.kill()
                process.wait()
                raise
            output.seek(0)
            if process.returncode != 0:
                raise self._failed(f"{Path(command[0]).name} failed", output.read())

    async def _ended(self, process: subprocess.Popen[bytes]) -> None:
        told, since = "", time.monotonic()
        while process.poll() is None:
            await asyncio.sleep(0.02 if time.monotonic() - since < 2 else 0.5)
            line = self._here.last_progress()
            if line != told:
                self._progress(line)
                told = line

    def _failed(self, what: str, said: str) -> DatabaseError:
        tail = " · ".join([*said.split("\n"), *self._here.log_tail()][-6:]).strip(" ·")
        return DatabaseError(f"{what}: {tail}", hint=f"its log is in {self._here.log_dir}")


def _locked(path: Path, how: int) -> int | None:
    """An open file descriptor that holds the lock, or None when somebody else does."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
