-- Where we are in each stream, what we are entitled to and do not have, and what we could not apply.

create table ix.stream_cursors (
    source      text not null,
    endpoint    text not null,
    watermark   bigint,
    received    bigint,
    event_time  timestamptz,
    coverage_start timestamptz not null default now(),
    updated_at  timestamptz not null default now(),
    primary key (source, endpoint)
);
comment on table ix.stream_cursors is
    'One line per (host, endpoint). Every event up to watermark has its outcome committed; it is written in the transaction of the rows.';

create table ix.gaps (
    id          bigint generated always as identity primary key,
    source      text not null,
    kind        text not null check (kind in ('outdated_cursor', 'relay_switch', 'future_cursor', 'frame', 'operator')),
    from_seq    bigint,
    to_seq      bigint,
    from_time   timestamptz,
    to_time     timestamptz,
    opened_at   timestamptz not null default now(),
    state       text not null default 'open' check (state in ('open', 'sweeping', 'resyncing', 'closed', 'waived')),
    list_cursor text,
    listed      bigint not null default 0,
    differing   bigint not null default 0,
    queued      bigint not null default 0,
    healed      bigint not null default 0,
    failed      bigint not null default 0,
    closed_at   timestamptz,
    note        text
);
comment on table ix.gaps is 'Named holes: what the relay served while we were away, or a frame nobody could read.';

create table ix.quarantine (
    id           bigint generated always as identity primary key,
    at           timestamptz not null default now(),
    source       text not null,
    seq          bigint,
    actor_id     integer,
    rev          text collate "C",
    scope        text not null check (scope in ('frame', 'commit', 'op', 'record', 'label')),
    path         text collate "C",
    cid          bytea,
    reason       text not null,
    detail       text,
    body         bytea,
    body_sha256  bytea not null,
    body_size    bigint not null,
    code_version text not null,
    attempts     integer not null default 0,
    state        text not null default 'open' check (state in ('open', 'redriven', 'superseded', 'discarded')),
    closed_at    timestamptz
);
comment on table ix.quarantine is 'What could not be applied, with its bytes (zstd) and the reason.';
create unique index quarantine_open_record_idx on ix.quarantine (actor_id, path) where state = 'open' and scope = 'op';
create unique index quarantine_event_idx on ix.quarantine (source, seq, scope, path, body_sha256) nulls not distinct
    where scope <> 'op';
create index quarantine_state_reason_idx on ix.quarantine (state, scope, reason);
