"""``appview.notifications``, generated from what the collections declare (records §3).

A notification with one cause and one recipient is not stored: it is the visible row itself, read from
the recipient's side through an index. It appears and goes with its cause in the same transaction, is
handed over within a group without being touched, and has nothing that could drift.
"""

from __future__ import annotations

from collections.abc import Iterable

from firehose_indexer.records.base import Collection, Notice

VIEW = """
create view appview.notifications as
select n.id,
       appview.record_uri(author.did, n.collection, n.rkey) as uri,
       recipient.did as recipient_did,
       author.did as author_did,
       n.reason,
       appview.record_uri(subject.did, n.subject_collection, n.subject_rkey) as reason_subject,
       appview.cid_text(n.cid) as cid,
       exists (select from ix.read_notifications d where d.recipient_id = n.recipient_id and d.id = n.id) as is_read,
       n.sort_at as created_at,
       n.indexed_at
from ({branches}) n
join ix.actors author on author.id = n.author_id and not author.hidden
join ix.actors recipient on recipient.id = n.recipient_id
left join ix.actors subject on subject.id = n.subject_actor_id;
comment on view appview.notifications is 'What other accounts did to an account''s records or to itself.';

create function appview.mark_read(recipient text, until timestamptz default now()) returns bigint
language sql volatile
as $$
    with seen as (
        insert into ix.read_notifications (recipient_id, id)
        select a.id, n.id from ix.actors a join appview.notifications n on n.recipient_did = a.did
        where a.did = recipient and n.created_at <= until and not n.is_read
        on conflict do nothing returning 1
    )
    select count(*) from seen
$$;
comment on function appview.mark_read is 'Marks everything an account was told up to an instant as read; returns how many.';
"""

BRANCH = """
    select hashtextextended(concat_ws(' ', '{reason}', r.actor_id, r.{recipient}, {group}), 0) as id,
           r.actor_id as author_id, '{nsid}'::text as collection, r.rkey, r.cid, r.{recipient} as recipient_id,
           '{reason}'::text as reason, {subject},
           least(coalesce(r.created_at, r.indexed_at), r.indexed_at) as sort_at, r.indexed_at
    from ix.{table} r{join}
    where not r.shadow and r.{recipient} <> r.actor_id{unless}"""


def notifications_view(collections: Iterable[Collection]) -> str:
    """The SQL of the view, for the declarations of ``collections``."""
    branches = [_branch(collection, notice) for collection in collections for notice in collection.notices]
    return VIEW.format(branches="\n    union all".join(branches))


def _branch(collection: Collection, notice: Notice) -> str:
    if notice.subject is None:
        subject, join = (
            "null::integer as subject_actor_id, null::text as subject_collection, null::text as subject_rkey",
            "",
        )
    else:
        actor, coll, rkey = notice.subject
        literal = coll.startswith("'")
        nsid = coll if literal else "c.nsid"
        join = "" if literal else f" join ix.collections c on c.id = r.{coll}"
        subject = (
            f"r.{actor} as subject_actor_id, {nsid}::text as subject_collection, r.{rkey} as subject_rkey"
        )
    return BRANCH.format(
        reason=notice.reason,
        recipient=notice.recipient,
        group=", ".join(f"r.{column}" for column in collection.table.group),
        nsid=collection.nsid,
        subject=subject,
        table=collection.table.name,
        join=join,
        unless=f" and not ({notice.unless})" if notice.unless else "",
    )
