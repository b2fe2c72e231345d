create view appview.users as
select a.did,
       coalesce(a.handle, 'handle.invalid') as handle,
       p.record ->> 'displayName' as display_name,
       appview.cid_text(p.avatar_cid) as avatar_url,
       appview.cid_text(p.banner_cid) as banner_url,
       p.record ->> 'description' as description,
       p.record ->> 'pronouns' as pronouns,
       p.record ->> 'website' as website,
       p.record as profile_record,
       case when p.pinned_rkey is not null then p.record -> 'pinnedPost' end as pinned_post,
       p.self_labels,
       coalesce(c.followers, 0) as followers_count,
       coalesce(c.follows, 0) as follows_count,
       coalesce(c.posts, 0) as posts_count,
       a.status,
       coalesce(p.created_at, p.indexed_at) as created_at,
       p.indexed_at
from ix.repos r
join ix.actors a on a.id = r.actor_id and not a.hidden
left join ix.profiles p on p.actor_id = a.id
left join ix.actor_counts c on c.actor_id = a.id;
comment on view appview.users is 'Every account that was ever heard of on the stream, with its profile where it has one. avatar_url and banner_url hold the blob''s CID.';

create view appview.generic_records as
select appview.record_uri(a.did, c.nsid, g.rkey) as uri,
       appview.cid_text(g.cid) as cid,
       a.did as author_did,
       g.record_type,
       c.nsid as collection,
       g.record,
       coalesce(g.created_at, g.indexed_at) as created_at,
       g.indexed_at
from ix.generic_records g
join ix.actors a on a.id = g.actor_id and not a.hidden
join ix.collections c on c.id = g.coll;
comment on view appview.generic_records is 'Records of every collection that has no table of its own.';

create view appview.firehose_cursor as
select source as service, watermark as cursor, event_time as last_event_time, updated_at
from ix.stream_cursors;
comment on view appview.firehose_cursor is 'How far each stream is committed.';
