from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys

import pytest

from firehose_indexer.cli.simulate import _rate
from firehose_indexer.errors import ConfigError


def test_a_rate_is_a_positive_number_or_max():
    assert _rate("max") is None
    assert _rate("2.5") == 2.5
    for text in ("0", "-1", "fast", "inf", "nan"):
        with pytest.raises(ConfigError):
            _rate(text)


def test_simulate_says_where_it_serves_and_a_signal_ends_it_with_0():
    command = [sys.executable, "-m", "firehose_indexer", "simulate", "--port", "0", "--accounts", "3"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            assert re.search(r"relay +ws://127\.0\.0\.1:\d+", process.stderr.readline())
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            process.kill()


def test_a_taken_port_is_told_as_such():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "firehose_indexer", "simulate", "--port", port, "--accounts", "3"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert f"cannot listen on port {port}" in done.stderr
