"""Where a stream resumes: read from the database again at every connection (protocol §3.1, §3.5)."""

from __future__ import annotations

from typing import Any

from firehose_indexer.store.patience import patiently
from firehose_indexer.stream.intake import Position
from firehose_indexer.stream.source import Source

HERE = """
select watermark, event_time from ix.stream_cursors
where source = $1 and endpoint = $2 and watermark is not null
"""
ELSEWHERE = """
select watermark, event_time from ix.stream_cursors
where source <> $1 and endpoint = $2 and watermark is not null
order by event_time desc nulls last limit 1
"""


class Watermarks:
    """The committed positions of this database's streams."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    async def of(self, source: Source) -> Position | None:
        return await self._ask(HERE, source)

    async def of_another(self, source: Source) -> Position | None:
        """The newest position of another host on the same endpoint."""
        return await self._ask(ELSEWHERE, source)

    async def _ask(self, statement: str, source: Source) -> Position | None:
        row = await patiently(lambda: self._pool.fetchrow(statement, source.host, source.endpoint))
        return None if row is None else Position(*row)
