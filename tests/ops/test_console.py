from __future__ import annotations

import asyncio
import io
import json

import pytest

from firehose_indexer.log import Log
from firehose_indexer.ops import console as consoles
from firehose_indexer.ops.console import Console, Pulse, duration, live_line

PULSE = Pulse("live", 0.44, 654.2, 1108.0, 0, 1.26, 77)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_step_has_name_text_and_time():
    terminal = Terminal()
    Console(terminal).step("schema", "24 migrations applied", 0.31)
    assert terminal.getvalue().split() == ["schema", "24", "migrations", "applied", "0.3", "s"]


def test_without_a_terminal_steps_are_left_to_the_log():
    stream = io.StringIO()
    console = Console(stream)
    console.title("firehose-indexer")
    console.step("schema", "24 migrations applied", 0.31)
    assert stream.getvalue() == ""
    console.say("relay ws://127.0.0.1")
    assert "relay ws://127.0.0.1" in stream.getvalue()


def test_the_live_line_fits_a_terminal():
    assert live_line(PULSE) == "  live   lag 0.4 s   654 events/s   1,108 rows/s   dropped 0   Ctrl-C stops"
    assert "lag ?" in live_line(PULSE._replace(lag=None))


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.44, "0.4 s"), (119.9, "119.9 s"), (2472, "00:41:12"), (90061, "1 d 01:01:01")]
)
def test_durations_are_short(seconds, text):
    assert duration(seconds) == text


async def test_log_lines_pass_above_the_live_line(monkeypatch):
    monkeypatch.setattr(consoles, "LIVE_SECONDS", 0.001)
    terminal = Terminal()
    console = Console(terminal)
    log = Log("INFO", "json", stream=console)
    drawn = asyncio.Event()

    def pulse() -> Pulse:
        drawn.set()
        return PULSE

    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(console.follow(pulse, log.logger))
        await drawn.wait()
        await asyncio.sleep(0)
        log.logger.info("relay.connected")
        following.cancel()
    written = terminal.getvalue()
    line = written.index('{"ts"')
    assert written[:line].endswith("\r\x1b[K")
    assert written[line:].split("\n")[1].startswith("  live")
    assert written.endswith("\r\x1b[K")


async def test_a_line_wider_than_the_terminal_is_cut(monkeypatch):
    monkeypatch.setattr(consoles, "LIVE_SECONDS", 0.001)
    terminal = Terminal()
    console = Console(terminal, width=20)
    console._draw("x" * 50)
    assert terminal.getvalue() == "\r\x1b[K" + "x" * 19


async def test_without_a_terminal_the_pulse_is_a_log_line(monkeypatch):
    monkeypatch.setattr(consoles, "LOG_SECONDS", 0.001)
    stream = io.StringIO()
    console = Console(stream)
    log = Log("INFO", "json", stream=console)
    told = asyncio.Event()

    def pulse() -> Pulse:
        told.set()
        return PULSE

    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(console.follow(pulse, log.logger))
        await told.wait()
        await asyncio.sleep(0)
        following.cancel()
    line = json.loads(stream.getvalue().splitlines()[0])
    assert line["event"] == "stream.rate"
    assert (line["lag_seconds"], line["events_per_second"], line["queue_mb"], line["seq"]) == (
        0.4,
        654.2,
        1.3,
        77,
    )
