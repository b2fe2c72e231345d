"""Twenty million likes that were there before: made by the server itself, with the keys of real ones."""

from __future__ import annotations

import asyncpg

# TIDs of a day before the workload's, so that they lie to the left of what the bench inserts
FILL = """
insert into ix.likes (created_at, indexed_at, actor_id, subject_actor_id, subject_coll, shadow, rkey, subject_rkey, cid)
select at, at, actor, subject_actor, 0, false, tid(n * 4000, n % 1024), tid(subject * 20000, subject % 1024),
       sha256(int8send(n))
from (
    select n, timestamptz '2025-12-31' + n * interval '4 milliseconds' as at,
           1 + (1000000 * power(random(), 2))::int as actor, subject,
           1 + (subject * 2654435761 % 1000000)::int as subject_actor
    from (select n, greatest(0, n / 5 - (-20000 * ln(random() + 1e-9))::int8) as subject
          from generate_series($1::int8, $2::int8) n) s
) likes
on conflict do nothing
"""
TID = """
create or replace function pg_temp.tid(micros int8, clock int8) returns text language sql immutable as $$
    select string_agg(substr('234567abcdefghijklmnopqrstuvwxyz', 1 + ((v >> (60 - 5 * i)) & 31)::int, 1), '' order by i)
    from (select ((1767139200000000 + micros) << 10) | clock as v) t, generate_series(0, 12) i
$$;
"""
CHUNK = 500_000


async def fill_likes(dsn: str, likes: int) -> None:
    """Puts ``likes`` rows into ``ix.likes``, oldest first, as a stream would have."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(TID)
        await connection.execute("set synchronous_commit = off; set work_mem = '256MB'")
        for start in range(0, likes, CHUNK):
            await connection.execute(
                FILL.replace("tid(", "pg_temp.tid("), start, min(likes, start + CHUNK) - 1, timeout=600
            )
        await connection.execute("analyze ix.likes", timeout=600)
        await connection.execute("checkpoint", timeout=600)
    finally:
        await connection.close()
