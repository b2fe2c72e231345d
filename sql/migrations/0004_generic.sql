-- Records of collections without a table of their own, whole.

create table ix.generic_records (
    created_at  timestamptz,
    indexed_at  timestamptz not null,
    actor_id    integer not null,
    coll        smallint not null,
    rkey        text collate "C" not null,
    cid         bytea not null,
    record_type text,
    record      jsonb not null,
    raw         bytea,
    primary key (actor_id, coll, rkey)
);
create index generic_records_coll_indexed_at_idx on ix.generic_records (coll, indexed_at);
comment on column ix.generic_records.raw is 'The original block, only where the JSON form cannot rebuild it.';
