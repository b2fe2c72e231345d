create table ix.blocks (
    created_at       timestamptz,
    indexed_at       timestamptz not null,
    actor_id         integer not null,
    subject_actor_id integer not null,
    shadow           boolean not null,
    rkey             text collate "C" not null,
    cid              bytea not null,
    extra            jsonb,
    primary key (rkey, actor_id)
);
comment on table ix.blocks is 'app.bsky.graph.block';
create unique index blocks_actor_subject_idx on ix.blocks (actor_id, subject_actor_id) where not shadow;
create index blocks_shadow_idx on ix.blocks (actor_id, subject_actor_id) where shadow;
create index blocks_subject_idx on ix.blocks (subject_actor_id, actor_id);
