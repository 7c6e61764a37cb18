-- How many chats wait for a worker and how long the first of them has waited, without those that wait for a cap.
-- $1 how many are looked at; $2, $3 how many chats of one owner, and of one organization, may run (null: any).
with waiting as (
    select c.owner_id, c.organization_id, c.runnable_since
    from chats c
    where c.runnable_since is not null
    order by c.runnable_since, c.chat_id
    limit $1
),
running_of_owners as (
    select l.owner_id, count(*) as running
    from chats l
    where l.leased
    and $2::bigint is not null
    group by l.owner_id
),
running_of_organizations as (
    select l.organization_id, count(*) as running
    from chats l
    where l.leased
    and $3::bigint is not null
    group by l.organization_id
),
of_owners as (
    select w.*, row_number() over (partition by w.owner_id order by w.runnable_since) as place
    from waiting w
),
within_owners as (
    select w.organization_id, w.runnable_since
    from of_owners w
    left join running_of_owners r on r.owner_id = w.owner_id
    where $2::bigint is null
    or w.place <= $2 - coalesce(r.running, 0)
),
of_organizations as (
    select w.*, row_number() over (partition by w.organization_id order by w.runnable_since) as place
    from within_owners w
),
within_organizations as (
    select w.runnable_since
    from of_organizations w
    left join running_of_organizations r on r.organization_id = w.organization_id
    where $3::bigint is null
    or w.place <= $3 - coalesce(r.running, 0)
)
select
    count(*) as "chats!",
    coalesce(extract(epoch from clock_timestamp() - min(w.runnable_since)), 0)::float8 as "oldest_wait_s!"
from within_organizations w
