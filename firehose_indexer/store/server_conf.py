"""The embedded server's settings, from the machine's size."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_MIB = 1 << 20
_GIB = 1 << 30


def server_settings(cluster: Path, socket_dir: Path, log_dir: Path, name: str, *, durable: bool) -> str:
    """The text of ``firehose.conf``, included by ``postgresql.conf``; ``ALTER SYSTEM`` wins over it.

    ``durable=False`` is for throw-away clusters: nothing is flushed, nothing survives a power cut.
    """
    memory = _memory_bytes()
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": str(socket_dir),
        "unix_socket_permissions": "0700",
        "port": "5432",
        "cluster_name": name,  # in every process title, so that orphans can be told
        "max_connections": "100",
        "shared_buffers": _mb(min(memory // 4, 8 * _GIB)),
        "effective_cache_size": _mb(memory // 2),
        "maintenance_work_mem": _mb(min(memory // 16, 1 * _GIB)),
        "dynamic_shared_memory_type": _dynamic_shared_memory(),
        "max_wal_size": _mb(_wal_bytes(cluster)),
        "checkpoint_timeout": "15min",
        "wal_compression": "pglz",  # lz4 and zstd are not built in
        "jit": "off",
        "random_page_cost": "1.1",
        "log_min_duration_statement": "1s",
        "log_parameter_max_length": "200",  # never whole records in the log
        "log_startup_progress_interval": "5s",
        "logging_collector": "on",
        "log_directory": str(log_dir),
        "log_filename": "postgresql-%a.log",  # a week, then overwritten
        "log_rotation_age": "1d",
        "log_rotation_size": "0",
        "log_truncate_on_rotation": "on",
        "log_timezone": "UTC",
        "timezone": "UTC",
    }
    if not durable:
        settings |= {
            "fsync": "off",
            "full_page_writes": "off",
            "shared_buffers": "128MB",
            "max_wal_size": "1GB",
            "logging_collector": "off",
        }
    return "".join(f"{key} = '{_quoted(value)}'\n" for key, value in settings.items())


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "''")


def _mb(size: int) -> str:
    return f"{max(size // _MIB, 16)}MB"


def _memory_bytes() -> int:
    """The machine's memory, or what the container may use of it."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")):
        if limit.exists() and (text := limit.read_text().strip()).isdecimal():
            machine = min(machine, int(text))
    return machine


def _wal_bytes(cluster: Path) -> int:
    """8 GB suits the write rate; a small disk gives a tenth of what is free."""
    return max(1 * _GIB, min(8 * _GIB, shutil.disk_usage(cluster).free // 10))


def _dynamic_shared_memory() -> str:
    """Containers have 64 MB of /dev/shm, which parallel queries overrun."""
    shm = Path("/dev/shm")  # noqa: S108 (a size is read, nothing is written)
    return "posix" if shm.exists() and shutil.disk_usage(shm).total >= 512 * _MIB else "mmap"
