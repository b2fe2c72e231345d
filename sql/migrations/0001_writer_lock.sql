-- One writer per database and shard: who holds the lock, and the token that its transactions must show.

CREATE SCHEMA IF NOT EXISTS ix;
CREATE SCHEMA IF NOT EXISTS appview;

CREATE TABLE ix.writer_lock (
    shard text PRIMARY KEY,
    token uuid NOT NULL,
    host text NOT NULL,
    pid integer NOT NULL,
    version text NOT NULL,
    session text NOT NULL,
    since timestamptz NOT NULL,
    heartbeat timestamptz NOT NULL
);

COMMENT ON SCHEMA ix IS 'The index: tables the indexer writes. For reading, use the views in appview.';
COMMENT ON TABLE ix.writer_lock IS
    'The one writer of each shard. A transaction whose token is not here must not commit (fencing).';
