create table ix.follows (
    created_at       timestamptz,
    indexed_at       timestamptz not null,
    actor_id         integer not null,
    subject_actor_id integer not null,
    via_actor_id     integer,
    via_coll         smallint,
    shadow           boolean not null,
    rkey             text collate "C" not null,
    cid              bytea not null,
    via_rkey         text collate "C",
    extra            jsonb,
    primary key (rkey, actor_id)
);
comment on table ix.follows is 'app.bsky.graph.follow';
create unique index follows_actor_subject_idx on ix.follows (actor_id, subject_actor_id) where not shadow;
create index follows_shadow_idx on ix.follows (actor_id, subject_actor_id) where shadow;
create index follows_subject_idx on ix.follows (subject_actor_id, (least(coalesce(created_at, indexed_at), indexed_at)) desc)
    where not shadow;
