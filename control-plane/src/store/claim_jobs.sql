-- Leases jobs that are due. A job is due when its time has come, or its session is closed.
-- $1 sessions that may be given one, $2 jobs that a session has at most, $3 jobs of one
-- claim, $4 leases that a job gets for a request, $5 milliseconds that a lease lasts.
with room as (
    -- What it still works at without need takes room, too.
    select s.session_id, $2::bigint - count(held.session_id) as free
    from unnest($1::uuid[]) as s (session_id)
    left join (
        select j.session_id
        from jobs j
        where j.lease_time > now()
        union all
        select j.replaced_session_id
        from jobs j
        where j.replaced_lease_time > now()
    ) held on held.session_id = s.session_id
    group by s.session_id
),
-- Round by round, so that jobs spread over the sessions.
places as (
    select r.session_id, row_number() over (order by n.round, r.session_id) as place
    from room r, generate_series(1, r.free) as n (round)
),
due as (
    select j.job_id, j.tries, j.lease_time
    from jobs j
    where (
        j.lease_time <= now()
        or (
            j.session_id is not null
            and not exists (
                select
                from sessions s
                where s.session_id = j.session_id
                and s.close_time is null
            )
        )
    )
    order by j.lease_time
    limit least((select count(*) from places), $3::bigint)
    for update skip locked
),
numbered as (
    select due.job_id, row_number() over (order by due.lease_time, due.job_id) as place
    from due
    where due.tries < $4
),
given as (
    select n.job_id, p.session_id
    from numbered n
    join places p on p.place = n.place
),
-- Arrays, so that rows are found by their keys whatever number of them is guessed.
given_up as (
    delete from jobs j
    where j.job_id = any (array(select due.job_id from due where due.tries >= $4))
    returning j.job_id, j.chat_id
),
leased as (
    update jobs j
    set attempt = j.attempt + 1,
        tries = j.tries + 1,
        session_id = (select given.session_id from given where given.job_id = j.job_id),
        lease_time = now() + $5::bigint * interval '1 millisecond'
    where j.job_id = any (array(select given.job_id from given))
    returning j.job_id, j.chat_id, j.attempt, j.session_id
)
select l.job_id as "job_id!", l.chat_id as "chat_id!", l.attempt as "attempt!", l.session_id
from leased l
union all
select g.job_id, g.chat_id, 0, null
from given_up g
