-- Text forms of what the tables keep in binary.

create or replace function appview.cid_text(cid bytea) returns text
language sql immutable strict parallel safe
as $$
    select 'b' || string_agg(substr('abcdefghijklmnopqrstuvwxyz234567', 1 + substring(bits from n * 5 + 1 for 5)::integer, 1), '' order by n)
    from (select ('x' || encode(case octet_length(cid) when 32 then '\x01711220'::bytea || cid else cid end, 'hex'))::bit(290) as bits) b,
         generate_series(0, 57) n
$$;
comment on function appview.cid_text is 'A CID in base32. 32 bytes are the digest of a record''s CID, 36 a whole one.';

create or replace function appview.record_uri(did text, nsid text, rkey text) returns text
language sql immutable strict parallel safe
as $$ select 'at://' || did || '/' || nsid || '/' || rkey $$;

create or replace function appview.sort_at(created_at timestamptz, indexed_at timestamptz) returns timestamptz
language sql immutable parallel safe
as $$ select least(coalesce(created_at, indexed_at), indexed_at) $$;
comment on function appview.sort_at is 'A date in the future cannot pin a post, a missing one is the time it was indexed.';
