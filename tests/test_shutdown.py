from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading

import pytest

from firehose_indexer.shutdown import Shutdown


async def test_asking_sets_the_wish_and_keeps_the_first_reason():
    shutdown = Shutdown(60)
    with shutdown.listening(asyncio.get_running_loop()):
        assert not shutdown.requested
        shutdown.request("duration")
        shutdown.request("again")
        await shutdown.wait()
    assert shutdown.requested
    assert shutdown.reason == "duration"


async def test_the_first_signal_asks_and_the_second_leaves():
    left: list[int] = []
    shutdown = Shutdown(60, leave=left.append)
    with shutdown.listening(asyncio.get_running_loop()):
        os.kill(os.getpid(), signal.SIGTERM)
        await shutdown.wait()
        assert shutdown.reason == "SIGTERM"
        assert left == []
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(0)
    assert left == [130]


async def test_past_the_deadline_the_process_ends_with_1():
    left: list[int] = []
    gone = threading.Event()

    def leave(code: int) -> None:
        left.append(code)
        gone.set()

    shutdown = Shutdown(0.01, leave=leave)
    with shutdown.listening(asyncio.get_running_loop()):
        shutdown.request("test")
        assert await asyncio.to_thread(gone.wait, 10)
    assert left == [1]


async def test_a_drain_within_the_deadline_cancels_it():
    left: list[int] = []
    shutdown = Shutdown(0.2, leave=left.append)
    with shutdown.listening(asyncio.get_running_loop()):
        shutdown.request("test")
    assert shutdown._deadline is not None
    await asyncio.to_thread(shutdown._deadline.join, 10)
    assert left == []


async def test_other_signals_reach_whoever_registered():
    shutdown = Shutdown(60)
    heard = asyncio.Event()
    shutdown.on(signal.SIGUSR1, heard.set)
    with shutdown.listening(asyncio.get_running_loop()):
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGUSR2)
        async with asyncio.timeout(10):
            await heard.wait()
    assert not shutdown.requested


async def test_handlers_are_given_back():
    before = signal.getsignal(signal.SIGTERM)
    with Shutdown(60).listening(asyncio.get_running_loop()):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(("signals", "code"), [([signal.SIGTERM], 0), ([signal.SIGINT, signal.SIGINT], 130)])
def test_a_real_process_obeys_under_the_loop_we_use(signals, code):
    program = textwrap.dedent("""
        import asyncio, uvloop
        from firehose_indexer.shutdown import Shutdown
        async def main(drains):
            shutdown = Shutdown(60)
            with shutdown.listening(asyncio.get_running_loop()):
                print("ready", flush=True)
                await shutdown.wait()
                print("asked", flush=True)
                if not drains:
                    await asyncio.sleep(600)
        import sys
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main(sys.argv[1] == "0"))
    """)
    command = [sys.executable, "-c", program, str(code)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            for signum, word in zip(signals, ["ready", "asked"], strict=False):
                assert process.stdout.readline().strip() == word
                process.send_signal(signum)
            assert process.wait(30) == code
        finally:
            process.kill()
