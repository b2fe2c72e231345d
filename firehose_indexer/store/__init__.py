"""The room that writes: batches in, one committed Postgres transaction out.

It owns the database: the embedded server, the connection pool, the schema's migrations, the writer
lock, and every statement that is sent. ``asyncpg`` is imported here and nowhere else. It does not know
where rows come from, nor what a record means.
"""
