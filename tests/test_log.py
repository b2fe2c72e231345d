from __future__ import annotations

import io
import json
import logging

import pytest
import structlog

from firehose_indexer.log import FOLD_AFTER, PEER_TEXT_LIMIT, Log, peer_text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log(stream: io.StringIO, clock: Clock) -> Log:
    return Log("INFO", "json", stream=stream, clock=clock)


def lines(stream: io.StringIO) -> list[dict]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_begins_with_time_level_and_event(log, stream):
    log.logger.warning("relay.lost", reason="closed", seq=5)
    assert list(lines(stream)[0]) == ["ts", "level", "event", "reason", "seq"]
    line = lines(stream)[0]
    assert (line["level"], line["event"], line["reason"], line["seq"]) == (
        "warning",
        "relay.lost",
        "closed",
        5,
    )
    assert line["ts"].endswith("Z")


def test_auto_is_json_without_a_terminal_and_a_console_on_one():
    plain, terminal = io.StringIO(), Terminal()
    Log("INFO", "auto", stream=plain).logger.info("a.b")
    Log("INFO", "auto", stream=terminal).logger.info("a.b")
    assert json.loads(plain.getvalue())["event"] == "a.b"
    assert not terminal.getvalue().startswith("{")
    assert "a.b" in terminal.getvalue()


def test_lines_below_the_level_are_not_written_and_the_level_toggles(log, stream):
    log.logger.debug("a.b")
    assert lines(stream) == []
    assert log.toggle_debug() == "DEBUG"
    log.logger.debug("a.b")
    assert len(lines(stream)) == 1
    assert log.toggle_debug() == "INFO"
    log.logger.debug("a.b")
    assert len(lines(stream)) == 1


def test_toggling_a_log_that_was_configured_for_debug_makes_it_quieter(stream):
    assert Log("DEBUG", "json", stream=stream).toggle_debug() == "INFO"


def test_peer_text_is_cut_and_cannot_steer_a_terminal(log, stream):
    log.logger.info("a.b", text="\x1b[31m\r\nforged line\u2028\ud800" + "x" * 500)
    raw = stream.getvalue()
    assert "\x1b" not in raw
    assert raw.count("\n") == 1
    assert len(lines(stream)[0]["text"]) <= PEER_TEXT_LIMIT + 40
    assert "forged line" in raw


def test_peer_text_inside_collections_is_treated_alike(log, stream):
    log.logger.info("a.b", names=["\x1b" + "x" * 500], table={"k\x07": "\x1b"})
    assert "\\u001b" not in stream.getvalue()
    assert "\\u0007" not in stream.getvalue()
    assert len(lines(stream)[0]["names"][0]) <= PEER_TEXT_LIMIT + 4


def test_ordinary_text_of_any_script_is_left_alone():
    assert peer_text("größe 日本 🎉") == "größe 日本 🎉"


def test_cids_are_written_as_text_and_other_bytes_as_hex(log, stream):
    log.logger.info("a.b", cid=bytes.fromhex("01711220") + bytes(32), raw=b"\x00\xff")
    line = lines(stream)[0]
    assert line["cid"] == "bafyreiaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    assert line["raw"] == "00ff"


def test_credentials_are_masked_in_values_and_tracebacks(log, stream):
    log.logger.info("a.b", dsn="postgresql://u:sesame@h/d")
    try:
        raise ValueError("postgresql://u:sesame@h/d")
    except ValueError:
        log.logger.exception("a.failed")
    assert "sesame" not in stream.getvalue()
    assert "ValueError" in lines(stream)[1]["exception"]
    assert lines(stream)[1]["level"] == "error"


def test_repeats_within_a_minute_fold_into_one_summary(log, stream, clock):
    for _ in range(FOLD_AFTER + 7):
        log.logger.warning("commit.dropped", reason="rev_stale")
    assert len(lines(stream)) == FOLD_AFTER
    clock.now = 61
    log.logger.info("other.event")
    assert [line["event"] for line in lines(stream)[FOLD_AFTER:]] == ["commit.dropped", "other.event"]
    summary = lines(stream)[FOLD_AFTER]
    assert (summary["folded"], summary["reason"], summary["level"]) == (7, "rev_stale", "warning")


def test_after_the_minute_the_same_line_is_written_again(log, stream, clock):
    for _ in range(FOLD_AFTER + 1):
        log.logger.warning("a.b")
    clock.now = 61
    log.logger.warning("a.b")
    assert [line.get("folded") for line in lines(stream)] == [None] * FOLD_AFTER + [1, None]


def test_different_reasons_fold_apart(log, stream):
    for _ in range(FOLD_AFTER):
        log.logger.warning("a.b", reason="x")
        log.logger.warning("a.b", reason="y")
    assert len(lines(stream)) == 2 * FOLD_AFTER


def test_what_is_held_back_at_the_end_is_told(log, stream):
    for _ in range(FOLD_AFTER + 3):
        log.logger.error("a.b")
    log.unfold()
    log.unfold()
    assert [line.get("folded") for line in lines(stream)][FOLD_AFTER:] == [3]


def test_the_memory_for_folding_is_bounded(log, stream):
    for number in range(5000):
        log.logger.warning("a.b", reason=str(number))
    assert len(log._fold._runs) <= 1000
    assert len(lines(stream)) == 5000


def test_debug_lines_are_never_folded(stream, clock):
    log = Log("DEBUG", "json", stream=stream, clock=clock)
    for _ in range(50):
        log.logger.debug("a.b")
    assert len(lines(stream)) == 50


def test_installed_it_is_the_log_of_every_module_and_library_and_of_none_after(log: Log, stream: io.StringIO):
    with log.installed():
        structlog.get_logger().info("relay.connected", source="relay.example")
        logging.getLogger("websockets").error("opening handshake failed", exc_info=ValueError("x"))
        logging.getLogger("websockets").info("chatter")
    logging.getLogger("websockets").error("too late")
    connected, said = lines(stream)
    assert (connected["event"], connected["source"]) == ("relay.connected", "relay.example")
    assert (said["event"], said["reason"], said["error"]) == ("library.said", "websockets", "ValueError: x")
