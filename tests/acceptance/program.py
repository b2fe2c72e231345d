"""``firehose-indexer run`` as people run it: a process of its own, told by signals, asked over HTTP."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

ROOT = Path(__file__).parents[2]
PATIENCE = 30


class Program:
    """The running process. Its log is read as it comes, so that it never blocks on a full pipe."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.log: list[str] = []
        self._news = asyncio.Event()

    async def read(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.log.append(line.decode().rstrip())
            self._news.set()
        self._news.set()

    async def said(self, pattern: str) -> re.Match[str]:
        """The first log line that matches, past or to come."""
        async with asyncio.timeout(PATIENCE):
            while True:
                self._news.clear()
                for line in self.log:
                    if found := re.search(pattern, line):
                        return found
                await self._news.wait()

    def tell(self, signum: signal.Signals) -> None:
        self.process.send_signal(signum)

    async def ended(self) -> int:
        async with asyncio.timeout(PATIENCE):
            return await self.process.wait()

    async def address(self) -> str:
        return (await self.said(r"(http://127\.0\.0\.1:\d+)/status"))[1]

    async def ask(self, path: str) -> tuple[int, dict[str, Any]]:
        async with aiohttp.ClientSession() as http, http.get(await self.address() + path) as answer:
            return answer.status, json.loads(await answer.text())

    async def until(self, path: str, holds: Callable[[int, dict[str, Any]], bool]) -> dict[str, Any]:
        """Asks until the answer's status and body are as wanted; returns the body."""
        async with asyncio.timeout(PATIENCE):
            while True:
                status, body = await self.ask(path)
                if holds(status, body):
                    return body
                await asyncio.sleep(0.05)


@asynccontextmanager
async def running(*arguments: str, **variables: str) -> AsyncIterator[Program]:
    """``firehose-indexer ARGUMENTS`` with these variables; killed at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "firehose_indexer", *arguments),
        env={**os.environ, "PYTHONPATH": str(ROOT), "HTTP_BIND": "127.0.0.1:0", **variables},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    program = Program(process)
    reading = asyncio.ensure_future(program.read())
    try:
        yield program
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading
        sys.stderr.write("\n".join([f"{arguments}", *program.log, ""]))  # shown when the test fails
