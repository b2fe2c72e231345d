from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from firehose_indexer.errors import DatabaseError
from firehose_indexer.store import embedded
from firehose_indexer.store.binaries import find_binaries
from firehose_indexer.store.embedded import EmbeddedPostgres
from firehose_indexer.store.server_conf import server_settings

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="about what root must do")


@pytest.fixture
def server(data_dir: Path) -> Iterator[EmbeddedPostgres]:
    made = make(data_dir)
    yield made
    kill_everything(data_dir)


def make(data_dir: Path) -> EmbeddedPostgres:
    return EmbeddedPostgres(data_dir, durable=False, elsewhere=data_dir / "elsewhere")


def processes(data_dir: Path) -> list[int]:
    """The postmaster of ``data_dir`` and its children."""
    pid_file = data_dir / "postgres" / "cluster" / "postmaster.pid"
    if not pid_file.exists():
        return []
    postmaster = int(pid_file.read_text().split("\n")[0])
    children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(postmaster)], capture_output=True, text=True)
    return [postmaster, *map(int, children.stdout.split())]


def kill_everything(data_dir: Path) -> None:
    """SIGKILL, and wait until none of them runs (a zombie does not run)."""
    killed = [pid for pid in processes(data_dir) if command_line(pid)]
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    while any(command_line(pid) for pid in killed):
        time.sleep(0.02)


def command_line(pid: int) -> str:
    shown = subprocess.run(["ps", "-ww", "-o", "stat=,args=", "-p", str(pid)], capture_output=True, text=True)
    return shown.stdout if "postgres" in shown.stdout and not shown.stdout.startswith("Z") else ""


async def query(server: EmbeddedPostgres, statement: str) -> object:
    connection = await asyncpg.connect(server.url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


def abandon(server: EmbeddedPostgres) -> None:
    """As if the process that used ``server`` had been killed: its locks are gone, its server runs on."""
    assert server._in_use is not None
    os.close(server._in_use)
    server._in_use = None


async def test_what_was_written_is_there_after_a_restart(server: EmbeddedPostgres, data_dir: Path) -> None:
    await server.start()
    await query(server, "CREATE TABLE kept AS SELECT 42 AS answer")
    await server.stop()
    assert processes(data_dir) == []
    await server.start()
    assert await query(server, "SELECT answer FROM kept") == 42
    assert await query(server, "SHOW listen_addresses") == ""
    assert (
        await query(server, "SELECT datlocprovider::text FROM pg_database WHERE datname = 'atproto'") == "b"
    )
    await server.stop()


async def test_a_server_that_outlived_its_indexer_is_adopted_and_then_stopped(
    server: EmbeddedPostgres, data_dir: Path
) -> None:
    await server.start()
    started = await query(server, "SELECT pg_postmaster_start_time()")
    abandon(server)
    successor = make(data_dir)
    await successor.start()
    assert await query(successor, "SELECT pg_postmaster_start_time()") == started
    await successor.stop()
    assert processes(data_dir) == []


async def test_the_last_of_several_users_stops_the_server(server: EmbeddedPostgres, data_dir: Path) -> None:
    other = make(data_dir)
    await server.start()
    await other.start()
    await server.stop()
    assert await query(other, "SELECT 1") == 1
    await other.stop()
    assert processes(data_dir) == []


async def test_starts_over_the_pid_file_of_a_killed_server_even_if_the_pid_is_taken(
    server: EmbeddedPostgres, data_dir: Path
) -> None:
    await server.start()
    await query(server, "CREATE TABLE kept AS SELECT 42 AS answer")
    pid_file = data_dir / "postgres" / "cluster" / "postmaster.pid"
    owner = pid_file.stat()
    lines = pid_file.read_text().split("\n")
    abandon(server)
    kill_everything(data_dir)
    identity = {"user": owner.st_uid, "group": owner.st_gid} if os.geteuid() == 0 else {}
    with subprocess.Popen(["sleep", "600"], cwd="/", **identity) as bystander:
        try:
            pid_file.write_text("\n".join([str(bystander.pid), *lines[1:]]))
            await server.start()
            assert await query(server, "SELECT answer FROM kept") == 42
        finally:
            bystander.kill()
    await server.stop()


async def test_a_server_that_died_is_started_again_but_not_for_ever(
    server: EmbeddedPostgres, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "MAX_RESTARTS", 1)
    await server.start()
    assert not await server.ensure_running()
    kill_everything(data_dir)
    assert await server.ensure_running()
    assert await query(server, "SELECT 1") == 1
    kill_everything(data_dir)
    with pytest.raises(DatabaseError, match="died 1 times within 10 minutes"):
        await server.ensure_running()


async def test_data_of_another_major_version_is_refused_with_the_commands_to_upgrade(
    server: EmbeddedPostgres, data_dir: Path
) -> None:
    await server.start()
    await server.stop()
    (data_dir / "postgres" / "cluster" / "PG_VERSION").write_text("17\n")
    with pytest.raises(DatabaseError, match="made by PostgreSQL 17, the programs here are 18") as refusal:
        await server.start()
    assert "pg_upgrade -b OLD" in refusal.value.hint


async def test_a_failed_start_says_what_the_server_said(server: EmbeddedPostgres, data_dir: Path) -> None:
    await server.start()
    await server.stop()
    with (data_dir / "postgres" / "cluster" / "postgresql.conf").open("a") as conf:
        conf.write("no_such_setting = 1\n")
    with pytest.raises(DatabaseError, match=r"(?s)pg_ctl failed:.*no_such_setting") as refusal:
        await server.start()
    assert str(data_dir) in refusal.value.hint


async def test_the_socket_of_a_deep_folder_is_elsewhere(data_dir: Path) -> None:
    deep = data_dir / ("d" * 60) / ("e" * 60)
    server = make(deep)
    await server.start()
    try:
        assert await query(server, "SELECT 1") == 1
        assert str(deep) not in str(await query(server, "SHOW unix_socket_directories"))
    finally:
        await server.stop()
        Path(server._here.socket_dir).rmdir()


@needs_root
async def test_below_a_closed_folder_the_data_lie_where_the_server_can_reach_them(data_dir: Path) -> None:
    closed = data_dir / "closed"
    closed.mkdir(mode=0o700)
    elsewhere = data_dir / "open"
    server = EmbeddedPostgres(closed / "data", durable=False, elsewhere=elsewhere)
    await server.start()
    assert await query(server, "SELECT 1") == 1
    await server.stop()
    assert closed.stat().st_mode & 0o777 == 0o700
    link = closed / "data" / "postgres"
    assert link.readlink() == server.home
    assert server.home.parent == elsewhere
    await server.start()
    await server.stop()
    link.unlink()
    with pytest.raises(DatabaseError, match="is still in") as refusal:
        await server.start()
    assert f"ln -s {server.home} {link}" in refusal.value.hint


@needs_root
async def test_root_runs_the_server_as_the_user_that_owns_the_data(
    server: EmbeddedPostgres, data_dir: Path
) -> None:
    await server.start()
    owner = (data_dir / "postgres" / "cluster").stat().st_uid
    assert owner != 0
    assert Path(f"/proc/{processes(data_dir)[0]}").stat().st_uid == owner
    assert str(server.bin_dir).startswith(str(data_dir))
    await server.stop()


async def test_a_folder_of_somebody_else_is_refused(server: EmbeddedPostgres, data_dir: Path) -> None:
    (data_dir / "postgres").mkdir()
    (data_dir / "postgres" / "cluster").symlink_to("/etc")
    with pytest.raises(
        DatabaseError, match=r"belongs to another user|no other user can reach|can no longer reach"
    ):
        await server.start()


async def test_an_explicit_folder_without_programs_is_refused(data_dir: Path) -> None:
    with pytest.raises(DatabaseError, match="there is no postgres program in"):
        await EmbeddedPostgres(data_dir, bin_dir=data_dir).start()


async def test_recovery_is_told_while_it_lasts(server: EmbeddedPostgres, data_dir: Path) -> None:
    await server.start()
    home = server._here
    assert home.last_progress() == ""
    log = home.log_dir / "zzz.log"
    log.write_text(
        "2026-01-01 00:00:00 UTC LOG:  redo in progress, elapsed time: 15.00 s, current LSN: 0/3A5D0B0\n"
    )
    os.utime(log, (2**31, 2**31))
    assert (
        home.last_progress() == "recovering: redo in progress, elapsed time: 15.00 s, current LSN: 0/3A5D0B0"
    )
    await server.stop()


def test_the_wheel_is_preferred_and_its_copy_runs(tmp_path: Path) -> None:
    binaries = find_binaries()
    assert binaries.bundle
    copy = binaries.copied_into(tmp_path)
    assert copy.bin.is_relative_to(tmp_path)
    assert find_binaries(copy.bin).version == binaries.version
    assert binaries.copied_into(tmp_path) == copy


def test_settings_hold_paths_with_quotes_and_flush_what_must_last(tmp_path: Path) -> None:
    quoted = tmp_path / "it's"
    text = server_settings(tmp_path, quoted, tmp_path, "name", durable=True)
    assert f"unix_socket_directories = '{tmp_path}/it''s'\n" in text
    assert "fsync" not in text
    assert "fsync = 'off'" in server_settings(tmp_path, quoted, tmp_path, "name", durable=False)
