create view appview.likes as
select appview.record_uri(a.did, 'app.bsky.feed.like', l.rkey) as uri,
       appview.cid_text(l.cid) as cid,
       a.did as user_did,
       appview.record_uri(s.did, c.nsid, l.subject_rkey) as post_uri,
       null::text as subject_cid,
       appview.record_uri(v.did, 'app.bsky.feed.repost', l.via_rkey) as via,
       coalesce(l.created_at, l.indexed_at) as created_at,
       l.indexed_at
from ix.likes l
join ix.actors a on a.id = l.actor_id and not a.hidden
join ix.actors s on s.id = l.subject_actor_id
join ix.collections c on c.id = l.subject_coll
left join ix.actors v on v.id = l.via_actor_id
where not l.shadow;
comment on view appview.likes is 'One line per actor and subject. post_uri names the liked record, whatever its collection.';

create view appview.reposts as
select appview.record_uri(a.did, 'app.bsky.feed.repost', r.rkey) as uri,
       appview.cid_text(r.cid) as cid,
       a.did as user_did,
       appview.record_uri(s.did, c.nsid, r.subject_rkey) as post_uri,
       null::text as subject_cid,
       appview.record_uri(v.did, 'app.bsky.feed.repost', r.via_rkey) as via,
       coalesce(r.created_at, r.indexed_at) as created_at,
       r.indexed_at
from ix.reposts r
join ix.actors a on a.id = r.actor_id and not a.hidden
join ix.actors s on s.id = r.subject_actor_id
join ix.collections c on c.id = r.subject_coll
left join ix.actors v on v.id = r.via_actor_id
where not r.shadow;
comment on view appview.reposts is 'One line per actor and subject.';

create view appview.post_viewer_states as
select appview.record_uri(s.did, 'app.bsky.feed.post', k.subject_rkey) as post_uri,
       v.did as viewer_did,
       max(appview.record_uri(v.did, 'app.bsky.feed.like', k.rkey)) filter (where k.kind = 'like') as like_uri,
       max(appview.record_uri(v.did, 'app.bsky.feed.repost', k.rkey)) filter (where k.kind = 'repost') as repost_uri
from (
    select 'like' as kind, actor_id, rkey, subject_actor_id, subject_rkey from ix.likes where not shadow and subject_coll = 0
    union all
    select 'repost', actor_id, rkey, subject_actor_id, subject_rkey from ix.reposts where not shadow and subject_coll = 0
) k
join ix.actors v on v.id = k.actor_id and not v.hidden
join ix.actors s on s.id = k.subject_actor_id
group by s.did, k.subject_rkey, v.did;
comment on view appview.post_viewer_states is 'What an account has done to a post.';

create view appview.feed_items as
select appview.record_uri(a.did, 'app.bsky.feed.post', p.rkey) as uri,
       appview.record_uri(a.did, 'app.bsky.feed.post', p.rkey) as post_uri,
       a.did as originator_did,
       'post'::text as type,
       appview.sort_at(p.created_at, p.indexed_at) as sort_at,
       appview.cid_text(p.cid) as cid,
       coalesce(p.created_at, p.indexed_at) as created_at,
       p.indexed_at
from ix.posts p
join ix.actors a on a.id = p.actor_id and not a.hidden
union all
select appview.record_uri(a.did, 'app.bsky.feed.repost', r.rkey),
       appview.record_uri(s.did, 'app.bsky.feed.post', r.subject_rkey),
       a.did,
       'repost',
       appview.sort_at(r.created_at, r.indexed_at),
       appview.cid_text(r.cid),
       coalesce(r.created_at, r.indexed_at),
       r.indexed_at
from ix.reposts r
join ix.actors a on a.id = r.actor_id and not a.hidden
join ix.posts p on p.rkey = r.subject_rkey and p.actor_id = r.subject_actor_id
join ix.actors s on s.id = p.actor_id and not s.hidden
where not r.shadow and r.subject_coll = 0;
comment on view appview.feed_items is 'Posts, and visible reposts whose post is stored: derived, so an item can neither outlive its post nor be missing when the post comes late.';

create view appview.thread_contexts as
select appview.record_uri(a.did, 'app.bsky.feed.post', p.rkey) as post_uri,
       appview.record_uri(o.did, 'app.bsky.feed.like', l.rkey) as root_author_like_uri
from ix.posts p
join ix.actors a on a.id = p.actor_id and not a.hidden
join ix.actors o on o.id = p.root_actor_id
left join ix.likes l on l.subject_rkey = p.rkey and l.subject_coll = 0 and l.subject_actor_id = p.actor_id
                    and l.actor_id = p.root_actor_id and not l.shadow and not o.hidden
where p.root_rkey is not null;
comment on view appview.thread_contexts is 'For every reply, the like its thread''s author gave it, if any.';
