"""Asking a database that may be away: again and again, for as long as it takes (design §3)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from firehose_indexer.store.faults import is_transient

T = TypeVar("T")

PAUSE_SECONDS = 0.2
PAUSE_LIMIT_SECONDS = 10.0


async def patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """The answer of ``ask``, tried with backoff and jitter while the failure is not of its own making."""
    pause = PAUSE_SECONDS
    while True:
        try:
            return await ask()
        except Exception as error:
            if not is_transient(error):
                raise
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(PAUSE_LIMIT_SECONDS, pause * 2)
