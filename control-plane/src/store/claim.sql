-- The next chat to lease: owners take turns, and of each the chat that waits longest comes. Owners are gone
-- through one look into the index at a time, so that one with thousands of waiting chats costs as much as
-- one with a single chat.
-- $1 chats that are left alone; $2 the owner who was served last; $3, $4 how many chats of one owner, and of
-- one organization, may run (null: any).
with recursive capped_owners as materialized (
    select l.owner_id
    from chats l
    where l.leased
    and $3::bigint is not null
    group by l.owner_id
    having count(*) >= $3
),
capped_organizations as materialized (
    select l.organization_id
    from chats l
    where l.leased
    and $4::bigint is not null
    group by l.organization_id
    having count(*) >= $4
),
-- From the owner behind the one who was served last to the last, and then from the first on. What it
-- begins with is nobody.
owners as (
    select $2::uuid as owner_id, null::uuid as organization_id, false as has_wrapped
    union all
    select n.owner_id, n.organization_id, n.has_wrapped
    from owners o
    cross join lateral (
        (
            select c.owner_id, c.organization_id, o.has_wrapped
            from chats c
            where c.runnable_since is not null
            and c.owner_id > o.owner_id
            -- A bound of the index either way, so that nobody's chats are gone through.
            and c.owner_id <= case when o.has_wrapped then $2 else 'ffffffff-ffff-ffff-ffff-ffffffffffff' end
            order by c.owner_id
            limit 1
        )
        union all
        (
            select c.owner_id, c.organization_id, true
            from chats c
            where c.runnable_since is not null
            and c.owner_id <= $2
            and not o.has_wrapped
            order by c.owner_id
            limit 1
        )
        limit 1
    ) n
)
select w.chat_id as "chat_id!", w.owner_id as "owner_id!"
from owners o
-- Only the locked row's own columns may be used: after a wait PostgreSQL re-checks no other row.
cross join lateral (
    select c.chat_id, c.owner_id
    from chats c
    where c.runnable_since is not null
    and c.owner_id = o.owner_id
    and c.chat_id <> all ($1)
    order by c.runnable_since, c.chat_id
    limit 1
    for update skip locked
) w
where o.organization_id is not null
and o.owner_id not in (select owner_id from capped_owners)
and o.organization_id not in (select organization_id from capped_organizations)
limit 1
