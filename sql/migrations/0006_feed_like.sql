create table ix.likes (
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
comment on table ix.likes is
    'app.bsky.feed.like. Keys start with the rkey, which is time: new rows go to the right edge of the index, and likes of recent posts lie together.';
comment on column ix.likes.shadow is 'the actor has a like of the same subject with a smaller rkey; a shadow has no effects';
create index likes_actor_idx on ix.likes (actor_id);
create unique index likes_subject_idx on ix.likes (subject_rkey, subject_coll, subject_actor_id, actor_id) where not shadow;
create index likes_shadow_idx on ix.likes (subject_rkey, subject_coll, subject_actor_id, actor_id) where shadow;
create index likes_notice_idx on ix.likes (subject_actor_id, (least(coalesce(created_at, indexed_at), indexed_at)) desc)
    where not shadow;
create index likes_via_idx on ix.likes (via_actor_id, (least(coalesce(created_at, indexed_at), indexed_at)) desc)
    where via_actor_id is not null and not shadow;
