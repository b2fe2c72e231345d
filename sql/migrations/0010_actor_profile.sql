create table ix.profiles (
    created_at      timestamptz,
    indexed_at      timestamptz not null,
    actor_id        integer primary key,
    joined_actor_id integer,
    cid             bytea not null,
    joined_rkey     text collate "C",
    pinned_rkey     text collate "C",
    avatar_cid      bytea,
    banner_cid      bytea,
    self_labels     text[],
    record          jsonb not null,
    raw             bytea
);
comment on table ix.profiles is 'app.bsky.actor.profile';
create index profiles_joined_idx on ix.profiles (joined_actor_id, joined_rkey) where joined_rkey is not null;
