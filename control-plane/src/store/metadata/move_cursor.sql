-- Moves a read cursor, and says what is unread above it. Its row is locked by a statement
-- before this one.
-- $1 chat, $2 user, $3 the last message that was read, $4 the version of the chat beyond
-- which nothing was read.
update chat_user_metadata u
set read_message_id = n.read_message_id,
    has_unread = n.has_unread,
    read_xid = pg_current_xact_id(),
    change_xid = pg_current_xact_id()
from (
    select
        c.chat_id,
        r.read_message_id,
        coalesce(c.last_answer_id > r.read_message_id, false) as has_unread
    from chats c
    join chat_user_metadata o on o.chat_id = c.chat_id and o.user_id = $2
    -- The newest message that users see, from the end of the history.
    left join lateral (
        select m.id
        from messages m
        where m.chat_id = c.chat_id
        and not m.deleted
        and m.visibility <> 'model'
        and m.revision <= $4
        order by m.id desc
        limit 1
    ) newest on true
    cross join lateral (
        select greatest(o.read_message_id, least($3, coalesce(newest.id, 0))) as read_message_id
    ) r
    where c.chat_id = $1
    and c.delete_time is null
) n
where u.chat_id = n.chat_id
and u.user_id = $2
and (u.read_message_id, u.has_unread) is distinct from (n.read_message_id, n.has_unread)
