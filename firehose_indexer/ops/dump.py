"""What every task is waiting for, and how full the queues are: the answer to SIGUSR1."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from structlog.typing import FilteringBoundLogger

_STACK_DEPTH = 3


def dump(logger: FilteringBoundLogger, queues: Mapping[str, Any]) -> None:
    """Log one ``dump.task`` line per task and one ``dump.queues`` line."""
    for task in sorted(asyncio.all_tasks(), key=lambda task: task.get_name()):
        frames = task.get_stack(limit=_STACK_DEPTH)
        where = [f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}" for frame in frames]
        # Under its own reason each, so that folding leaves them alone.
        logger.warning("dump.task", reason=task.get_name(), where=where)
    logger.warning("dump.queues", **queues)
