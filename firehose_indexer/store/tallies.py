"""How many gaps are open and what lies in quarantine: what readiness and the status are judged by."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

GAPS = "select state, kind, count(*) from ix.gaps group by 1, 2"
OPEN = """
select scope, split_part(reason, ':', 1), count(*), coalesce(sum(octet_length(body)), 0)
from ix.quarantine where state = 'open' group by 1, 2
"""


class Tallies(NamedTuple):
    """``gaps`` by (state, kind), ``quarantine`` by (scope, reason); bytes are those of open bodies."""

    gaps: dict[tuple[str, str], int]
    quarantine: dict[tuple[str, str], int]
    quarantine_bytes: int


EMPTY = Tallies({}, {}, 0)


async def count(pool: Any) -> Tallies:
    """Raises what the driver raises."""
    gaps = {(state, kind): number for state, kind, number in await pool.fetch(GAPS)}
    open_entries: Counter[tuple[str, str]] = Counter()
    size = 0
    for scope, reason, number, octets in await pool.fetch(OPEN):
        open_entries[scope, reason] += number
        size += int(octets)
    return Tallies(gaps, dict(open_entries), size)
