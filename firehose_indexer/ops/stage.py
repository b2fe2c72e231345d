"""What a long-running job is given."""

from __future__ import annotations

from dataclasses import dataclass

from firehose_indexer.log import Log
from firehose_indexer.ops.console import Console
from firehose_indexer.shutdown import Shutdown


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a job talks, where it logs, and when it should stop."""

    console: Console
    log: Log
    shutdown: Shutdown

    def step(self, event: str, text: str, seconds: float | None = None) -> None:
        """One finished step of the start: a line for people on a terminal, a log line elsewhere.

        ``event`` is ``noun.verb``; people read the noun.
        """
        if self.console.interactive:
            self.console.step(event.partition(".")[0], text, seconds)
        else:
            took = {} if seconds is None else {"seconds": round(seconds, 1)}
            self.log.logger.info(event, text=text, **took)
