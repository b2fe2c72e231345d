create view appview.posts as
select appview.record_uri(a.did, 'app.bsky.feed.post', p.rkey) as uri,
       appview.cid_text(p.cid) as cid,
       a.did as author_did,
       p.record ->> 'text' as text,
       p.langs,
       p.record #>> '{reply,parent,uri}' as parent_uri,
       p.record #>> '{reply,parent,cid}' as parent_cid,
       p.record #>> '{reply,root,uri}' as root_uri,
       p.record #>> '{reply,root,cid}' as root_cid,
       p.record -> 'embed' as embed,
       p.record -> 'facets' as facets,
       p.tags,
       p.self_labels,
       coalesce(p.violates_thread_gate, false) as violates_thread_gate,
       coalesce(p.violates_embedding_rules, false) as violates_embedding_rules,
       coalesce(p.created_at, p.indexed_at) as created_at,
       p.indexed_at,
       appview.sort_at(p.created_at, p.indexed_at) as sort_at,
       p.record
from ix.posts p
join ix.actors a on a.id = p.actor_id and not a.hidden;
comment on view appview.posts is 'One line per stored post of an account that is not hidden.';

create view appview.post_aggregations as
select appview.record_uri(a.did, 'app.bsky.feed.post', p.rkey) as post_uri,
       coalesce(c.likes, 0) as like_count,
       coalesce(c.reposts, 0) as repost_count,
       coalesce(c.replies, 0) as reply_count,
       coalesce(c.quotes, 0) as quote_count,
       coalesce(c.bookmarks, 0) as bookmark_count
from ix.posts p
join ix.actors a on a.id = p.actor_id and not a.hidden
left join ix.post_counts c on c.rkey = p.rkey and c.actor_id = p.actor_id;
comment on view appview.post_aggregations is 'Counts of every stored post, zeros included. Rows of hidden accounts count: a suspension is reversible.';

create view appview.quotes as
select appview.record_uri(a.did, 'app.bsky.feed.post', p.rkey) as uri,
       appview.cid_text(p.cid) as cid,
       appview.record_uri(a.did, 'app.bsky.feed.post', p.rkey) as post_uri,
       appview.record_uri(q.did, 'app.bsky.feed.post', p.embed_rkey) as quoted_uri,
       coalesce(p.record #>> '{embed,record,record,cid}', p.record #>> '{embed,record,cid}') as quoted_cid,
       coalesce(p.created_at, p.indexed_at) as created_at,
       p.indexed_at
from ix.posts p
join ix.actors a on a.id = p.actor_id and not a.hidden
join ix.actors q on q.id = p.embed_actor_id
where p.embed_rkey is not null and p.embed_coll = 0;
comment on view appview.quotes is 'Posts that embed a post.';
