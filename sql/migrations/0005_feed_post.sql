create table ix.posts (
    created_at     timestamptz,
    indexed_at     timestamptz not null,
    actor_id       integer not null,
    parent_actor_id integer,
    root_actor_id  integer,
    embed_actor_id integer,
    embed_coll     smallint,
    media          smallint not null,
    is_reply       boolean not null,
    violates_thread_gate boolean,
    violates_embedding_rules boolean,
    rkey           text collate "C" not null,
    cid            bytea not null,
    parent_rkey    text collate "C",
    root_rkey      text collate "C",
    embed_rkey     text collate "C",
    langs          text[],
    tags           text[],
    self_labels    text[],
    record         jsonb not null,
    raw            bytea,
    primary key (rkey, actor_id)
);
comment on table ix.posts is 'app.bsky.feed.post';
comment on column ix.posts.media is 'bits: 1 images, 2 video, 4 gallery, 8 external, 16 record';
comment on column ix.posts.violates_thread_gate is 'null: not judged, read as false';
create index posts_actor_sort_idx on ix.posts (actor_id, (least(coalesce(created_at, indexed_at), indexed_at)) desc);
create index posts_parent_idx on ix.posts (parent_rkey, parent_actor_id) where parent_rkey is not null;
create index posts_root_idx on ix.posts (root_rkey, root_actor_id) where root_rkey is not null;
create index posts_embed_idx on ix.posts (embed_rkey, embed_actor_id) where embed_rkey is not null;
