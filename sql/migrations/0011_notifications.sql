-- Notifications with one cause and one recipient are a view over their cause; only what a reader adds is stored.

create table ix.read_notifications (
    recipient_id integer not null,
    id           bigint not null,
    primary key (recipient_id, id)
);
comment on table ix.read_notifications is 'Notifications that somebody has seen. Their ids are derived from author, reason and subject, so they survive a change of the causing record.';

alter table ix.actors add column hidden boolean not null
    generated always as (not active and coalesce(status, '') not in ('desynchronized', 'throttled')) stored;
comment on column ix.actors.hidden is 'The views leave this account out. desynchronized and throttled are states of a host, not of a person.';
