"""The folder of an embedded server: its paths, and what can be seen of the server from outside."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path

from firehose_indexer.errors import DatabaseError
from firehose_indexer.store.binaries import Binaries, find_binaries
from firehose_indexer.store.server_conf import server_settings
from firehose_indexer.store.server_user import ServerUser, settle

_PROC = Path("/proc/self/cmdline")  # absent on macOS
MAX_SOCKET_PATH = 100  # the kernel's limit is 107 bytes


class ServerHome:
    """Paths, programs and user of one embedded server, and what can be seen of it from outside."""

    def __init__(self, home: Path, user: ServerUser, binaries: Binaries) -> None:
        self.home = home
        self.user = user
        self.binaries = binaries
        self.cluster = home / "cluster"
        self.log_dir = home / "log"
        digest = hashlib.sha256(os.fsencode(home)).hexdigest()[:12]
        self.name = f"firehose-{digest}"
        self.socket_dir = home / "run"
        if len(os.fsencode(self.socket_dir / ".s.PGSQL.5432")) > MAX_SOCKET_PATH:
            self.socket_dir = Path(tempfile.gettempdir()) / self.name

    @classmethod
    def of(cls, data_dir: Path, bin_dir: Path | None, elsewhere: Path) -> ServerHome:
        home, user = settle(data_dir, elsewhere=elsewhere)
        binaries = find_binaries(bin_dir)
        place = cls(home, user, binaries.copied_into(home) if user.switch else binaries)
        user.own(place.log_dir)
        place._refuse_foreign_folders()
        return place

    def _refuse_foreign_folders(self) -> None:
        """Raises DatabaseError when a folder that must be ours belongs to somebody else."""
        for folder in (self.cluster, self.socket_dir):
            try:
                found = folder.lstat()
            except FileNotFoundError:
                continue
            if found.st_uid != self.user.uid or not stat.S_ISDIR(found.st_mode):
                raise DatabaseError(
                    f"{folder} belongs to another user (uid {found.st_uid})",
                    hint="run as that user or as root, or choose another DATA_DIR",
                )

    def write_settings(self, *, durable: bool) -> None:
        text = server_settings(self.cluster, self.socket_dir, self.log_dir, self.name, durable=durable)
        conf = self.cluster / "firehose.conf"
        conf.write_text(text)
        if self.user.switch:
            os.chown(conf, self.user.uid, self.user.gid)

    def postmaster(self) -> int | None:
        """The pid of the running server. A pid file alone proves nothing: pids are used again."""
        try:
            pid = int((self.cluster / "postmaster.pid").read_text().split("\n", 1)[0])
            os.kill(pid, 0)
        except (FileNotFoundError, ValueError, ProcessLookupError):
            return None
        except PermissionError:
            pass  # alive, and another user's: its command line decides
        command = Path(f"/proc/{pid}/cmdline")
        if not _PROC.exists():
            return pid
        try:
            return pid if os.fsencode(self.cluster) in command.read_bytes().split(b"\0") else None
        except OSError:
            return None

    def forget_postmaster(self) -> None:
        """Remove the pid files, where /proc has shown that no process belongs to them."""
        if _PROC.exists():
            for pid_file in (self.cluster / "postmaster.pid", self.socket_dir / ".s.PGSQL.5432.lock"):
                pid_file.unlink(missing_ok=True)

    def orphans(self) -> bool:
        """Whether server processes of this cluster live on without their postmaster (Linux only)."""
        title = b"postgres: " + self.name.encode()
        for command in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if command.read_bytes().startswith(title):
                    return True
            except OSError:
                continue  # ended while we looked
        return False

    def last_progress(self) -> str:
        """What the starting server last said about its recovery, or nothing."""
        lines = [line for line in self.log_tail(40) if "elapsed time" in line]
        return "recovering: " + lines[-1].split("LOG:", 1)[-1].strip() if lines else ""

    def log_tail(self, lines: int = 4) -> list[str]:
        logs = sorted(self.log_dir.glob("*.log"), key=lambda log: log.stat().st_mtime)
        if not logs:
            return []
        with logs[-1].open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 8192))
            return log.read().decode(errors="replace").splitlines()[-lines:]
