-- Erases some of what is left of a deleted chat: what `apply_erase.sql` leaves of a large one.
-- $1 chat; its messages behind $2 up to $3; $4 rows of each other kind at most, $5 recorded runs.
with messages_erased as (
    update messages m
    set content_version = 1,
        content = '{"parts": []}',
        internal = null,
        content_bytes = 0,
        search = null
    where m.chat_id = $1
    and m.id > $2
    and m.id <= $3
    and (
        m.content <> '{"parts": []}'
        or m.internal is not null
        or m.content_bytes <> 0
        or m.search is not null
    )
),
queue_erased as (
    delete from queued_messages q
    using (
        select w.queued_message_id
        from queued_messages w
        where w.chat_id = $1
        limit $4
    ) w
    where q.chat_id = $1
    and q.queued_message_id = w.queued_message_id
    returning 1
),
calls_erased as (
    delete from calls c
    using (
        select w.message_id, w.call_index
        from calls w
        where w.chat_id = $1
        limit $4
    ) w
    where c.chat_id = $1
    and c.message_id = w.message_id
    and c.call_index = w.call_index
    returning 1
),
requests_deleted as (
    delete from requests r
    using (
        select w.actor_id, w.request_id
        from requests w
        where w.chat_id = $1
        limit $4
    ) w
    where r.actor_id = w.actor_id
    and r.request_id = w.request_id
    returning 1
),
debug_deleted as (
    delete from debug_runs r
    using (
        select w.run_id
        from debug_runs w
        where w.chat_id = $1
        limit $5
    ) w
    where r.chat_id = $1
    and r.run_id = w.run_id
    returning 1
)
select (
    (select count(*) from queue_erased)
    + (select count(*) from calls_erased)
    + (select count(*) from requests_deleted)
    + (select count(*) from debug_deleted)
) as "deleted!"
