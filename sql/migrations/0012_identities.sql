-- What the resolver has found out, so that a restart need not ask the whole network again.

alter table ix.actors add column handle_checked_at timestamptz;
comment on column ix.actors.handle is 'Proven both ways at handle_checked_at, else null. One handle, one actor.';

create table ix.identities (
    actor_id          integer primary key,
    outcome           smallint not null check (outcome between 0 and 2),
    key_type          smallint check (key_type between 0 and 2),
    label_key_type    smallint check (label_key_type in (1, 2)),
    handle_state      smallint not null default 0 check (handle_state between 0 and 2),
    misses            smallint not null default 0,
    generation        integer not null default 0,
    fetched_at        timestamptz not null,
    expires_at        timestamptz not null,
    handle_checked_at timestamptz,
    key               bytea,
    pds               text,
    handle_claimed    text,
    labeler           text,
    label_key         bytea
) with (fillfactor = 85);
comment on table ix.identities is
    'One line per account asked for. outcome: 0 ok, 1 not found, 2 bad document. key_type: 0 unusable, 1 K-256, 2 P-256, null none; key: the compressed point. handle_state: 0 unknown, 1 valid, 2 invalid. fetched_at: when the question went out.';

-- Both unlogged: a server crash empties both, so what is staged and how far it goes always agree.
create unlogged table ix.plc_import (
    did        text collate "C" not null,
    created_at timestamptz not null,
    ordinal    bigint generated always as identity,
    outcome    smallint not null,
    key_type   smallint,
    key        bytea,
    pds        text,
    handle     text
);
create unlogged table ix.plc_import_progress (
    one        boolean primary key default true check (one),
    operations bigint not null,
    until      timestamptz
);
comment on table ix.plc_import is 'Operations of the PLC directory, on their way into ix.identities.';
