"""Under which OS user the embedded server runs, and in which folder that user can work.

PostgreSQL refuses to run as root. When we are root, another user runs it: the owner of a cluster
that is already there, ``postgres``, ``nobody``, or the owner of the folders on the way. That user must
be able to reach the data, and nobody's folders are re-permissioned for it: a data folder below a
closed one (``/root`` is 0700) becomes a link to a folder under ``/var/lib`` instead.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firehose_indexer.errors import DatabaseError

ELSEWHERE = Path("/var/lib/firehose-indexer")
_PROBE_SECONDS = 30


@dataclass(frozen=True, slots=True)
class ServerUser:
    """The user of the server's processes; ``switch`` is False when that is who we are."""

    uid: int
    gid: int
    switch: bool

    @property
    def popen(self) -> dict[str, Any]:
        """Arguments for ``subprocess.Popen``."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if self.switch else {}

    def own(self, folder: Path) -> None:
        """Make ``folder``, readable by this user alone."""
        folder.mkdir(mode=0o700, exist_ok=True)
        if self.switch:
            os.chown(folder, self.uid, self.gid)


def settle(data_dir: Path, *, elsewhere: Path = ELSEWHERE) -> tuple[Path, ServerUser]:
    """The embedded server's home (``{data_dir}/postgres``, links resolved) and its user.

    Raises DatabaseError when no user can reach any home, or when a linked home lost its link.
    """
    home = data_dir.absolute() / "postgres"
    if os.geteuid() != 0:
        home.mkdir(parents=True, exist_ok=True)
        return home.resolve(), ServerUser(os.geteuid(), os.getegid(), switch=False)
    if not home.is_symlink():
        home.mkdir(parents=True, exist_ok=True)
        user = _who_reaches(home)
        if user is not None:
            return home.resolve(), user
        if any(home.iterdir()):
            raise DatabaseError(
                f"the owner of the database in {home} can no longer reach it",
                hint=f"open the folders above it, or move {data_dir} to where its owner can",
            )
        _link(home, elsewhere / _name(data_dir))
    target = home.readlink()
    target.mkdir(parents=True, exist_ok=True)
    user = _who_reaches(target)
    if user is None:
        raise DatabaseError(
            f"PostgreSQL does not run as root, and no other user can reach {home} or {target}",
            hint="run as an ordinary user, or set DATA_DIR to a folder under one that all may enter",
        )
    return target, user


def _name(data_dir: Path) -> str:
    digest = hashlib.sha256(os.fsencode(data_dir.absolute())).hexdigest()[:12]
    return f"{data_dir.absolute().parent.name}-{digest}"


def _link(home: Path, target: Path) -> None:
    """The link first, then its target: a crash between the two leaves nothing that looks like a loss."""
    if target.exists() and any(target.iterdir()):
        raise DatabaseError(
            f"{home} is gone, but the database it linked to is still in {target}",
            hint=f"to keep it: rmdir {home}; ln -s {target} {home}    to start afresh: rm -r {target}",
        )
    home.rmdir()
    home.symlink_to(target)


def _who_reaches(home: Path) -> ServerUser | None:
    return next((user for user in _candidates(home) if _reaches(user, home)), None)


def _candidates(home: Path) -> Iterator[ServerUser]:
    cluster = home / "cluster"
    if cluster.exists():
        owner = cluster.stat()
        yield ServerUser(owner.st_uid, owner.st_gid, switch=True)
        return
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        yield ServerUser(entry.pw_uid, entry.pw_gid, switch=True)
    for folder in home.parents:
        owner = folder.stat()
        if owner.st_uid != 0:
            yield ServerUser(owner.st_uid, owner.st_gid, switch=True)


def _reaches(user: ServerUser, folder: Path) -> bool:
    """Asked of the kernel, as that user: modes, ACLs and mounts all have their say."""
    try:
        done = subprocess.run(
            ["/bin/sh", "-c", 'cd -- "$0"', str(folder)],
            cwd="/",
            stderr=subprocess.DEVNULL,
            timeout=_PROBE_SECONDS,
            check=False,
            **user.popen,
        )
    except OSError as error:
        raise DatabaseError(
            f"PostgreSQL does not run as root, and we may not become another user: {error}",
            hint="run as an ordinary user, or set DATABASE_URL",
        ) from error
    return done.returncode == 0
