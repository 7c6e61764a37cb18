-- Which of some owners' chats were changed by transactions that a snapshot had not seen.
-- $1 the owners; $2 the snapshot's end, $3 what was running before it; none of both when
-- nobody has looked yet: then everybody's may have.
with looked as (
    select pg_current_snapshot() as snapshot
)
select
    looked.snapshot::text as "snapshot!",
    array(
        select o.owner_id
        from unnest($1::uuid[]) as o (owner_id)
        where $2::bigint is null
        or exists (
            select
            from chats c
            where c.owner_id = o.owner_id
            and c.change_xid >= $2::bigint::text::xid8
            -- What a restored database has from its former life is no change.
            and c.change_xid < pg_snapshot_xmax(pg_current_snapshot())
        )
        or exists (
            select
            from chat_user_metadata u
            where u.user_id = o.owner_id
            and u.change_xid >= $2::bigint::text::xid8
            and u.change_xid < pg_snapshot_xmax(pg_current_snapshot())
        )
        or exists (
            select
            from unnest($3::bigint[]::text[]::xid8[]) as late (xid)
            where exists (
                select
                from chats c
                where c.owner_id = o.owner_id
                and c.change_xid = late.xid
            )
            or exists (
                select
                from chat_user_metadata u
                where u.user_id = o.owner_id
                and u.change_xid = late.xid
            )
        )
    ) as "owners!"
from looked
