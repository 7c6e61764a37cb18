    -- Places of chats in the order of changes, behind a place, of what a snapshot does not
    -- see. $1 the owner; $2, $3 transaction and chat of the place; $4 the first transaction
    -- that is new whatever was running; $5 those that were running before it; $6 how many.
    -- A chat has a place for each of its two rows. Each part is as long as the whole may be,
    -- so the first of all are among them.
    (
        select c.change_xid as xid, c.chat_id
        from chats c
        where c.owner_id = $1
        and c.change_xid >= $4::bigint::text::xid8
        -- What a restored database has from its former life is no change.
        and c.change_xid < pg_snapshot_xmax(pg_current_snapshot())
        and (c.change_xid, c.chat_id) > ($2::bigint::text::xid8, $3::uuid)
        order by c.change_xid, c.chat_id
        limit $6::bigint
    )
    union
    (
        select u.change_xid, u.chat_id
        from chat_user_metadata u
        where u.user_id = $1
        and u.change_xid >= $4::bigint::text::xid8
        and u.change_xid < pg_snapshot_xmax(pg_current_snapshot())
        and (u.change_xid, u.chat_id) > ($2::bigint::text::xid8, $3::uuid)
        order by u.change_xid, u.chat_id
        limit $6::bigint
    )
    union
    (
        select late.xid, changed.chat_id
        from unnest($5::bigint[]::text[]::xid8[]) as late (xid)
        cross join lateral (
            (
                select c.chat_id
                from chats c
                where c.owner_id = $1
                and c.change_xid = late.xid
                and (c.change_xid, c.chat_id) > ($2::bigint::text::xid8, $3::uuid)
                order by c.chat_id
                limit $6::bigint
            )
            union all
            (
                select u.chat_id
                from chat_user_metadata u
                where u.user_id = $1
                and u.change_xid = late.xid
                and (u.change_xid, u.chat_id) > ($2::bigint::text::xid8, $3::uuid)
                order by u.chat_id
                limit $6::bigint
            )
        ) changed
    )
    order by xid, chat_id
    limit $6::bigint
