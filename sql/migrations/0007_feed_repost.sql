create table ix.reposts (
    created_at       timestamptz,
    indexed_at       timestamptz not null,
    actor_id         integer not null,
    subject_actor_id integer not null,
    via_actor_id     integer,
    subject_coll     smallint not null,
    shadow           boolean not null,
    rkey             text collate "C" not null,
    subject_rkey     text collate "C" not null,
    cid              bytea not null,
    via_rkey         text collate "C",
    extra            jsonb,
    primary key (rkey, actor_id)
);
comment on table ix.reposts is
    'app.bsky.feed.repost';
comment on column ix.reposts.shadow is 'the actor has a repost of the same subject with a smaller rkey; a shadow has no effects';
create index reposts_actor_sort_idx on ix.reposts (actor_id, (least(coalesce(created_at, indexed_at), indexed_at)) desc);
create unique index reposts_subject_idx on ix.reposts (subject_rkey, subject_coll, subject_actor_id, actor_id) where not shadow;
create index reposts_shadow_idx on ix.reposts (subject_rkey, subject_coll, subject_actor_id, actor_id) where shadow;
create index reposts_notice_idx on ix.reposts (subject_actor_id, (least(coalesce(created_at, indexed_at), indexed_at)) desc)
    where not shadow;
create index reposts_via_idx on ix.reposts (via_actor_id, (least(coalesce(created_at, indexed_at), indexed_at)) desc)
    where via_actor_id is not null and not shadow;
