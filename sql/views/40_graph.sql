create view appview.follows as
select appview.record_uri(a.did, 'app.bsky.graph.follow', f.rkey) as uri,
       appview.cid_text(f.cid) as cid,
       a.did as follower_did,
       s.did as following_did,
       appview.record_uri(v.did, c.nsid, f.via_rkey) as via,
       coalesce(f.created_at, f.indexed_at) as created_at,
       f.indexed_at
from ix.follows f
join ix.actors a on a.id = f.actor_id and not a.hidden
join ix.actors s on s.id = f.subject_actor_id
left join ix.actors v on v.id = f.via_actor_id
left join ix.collections c on c.id = f.via_coll
where not f.shadow;
comment on view appview.follows is 'One line per follower and followed account.';

create view appview.blocks as
select appview.record_uri(a.did, 'app.bsky.graph.block', b.rkey) as uri,
       appview.cid_text(b.cid) as cid,
       a.did as blocker_did,
       s.did as blocked_did,
       coalesce(b.created_at, b.indexed_at) as created_at,
       b.indexed_at
from ix.blocks b
join ix.actors a on a.id = b.actor_id and not a.hidden
join ix.actors s on s.id = b.subject_actor_id
where not b.shadow;
comment on view appview.blocks is 'Blocks act when reading; follows and likes between the two stay.';
