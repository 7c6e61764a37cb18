-- A page of a turn's input while its lease lives.
-- $1 chat, $2 fence, $3 session, $4 version of the history that every page has to find;
-- $5 the message after which the page begins; $6 only what changed after this revision, or
-- $7 what has this id or a higher one; $8 rows of a page, $9 bytes of it.
with lease as (
    select c.chat_id, c.covers_through
    from chats c
    where c.chat_id = $1
    and c.fence = $2
    and c.session_id = $3
    and c.leased
    and c.history_version = $4
),
-- What the model sees: as in read_chat.sql.
seen as (
    (
        select m.*
        from message_rows m
        where m.chat_id = (select lease.chat_id from lease)
        and m.id > greatest($5, coalesce((select lease.covers_through from lease), 0))
        and (
            m.covers_through is null
            or m.covers_through = (select lease.covers_through from lease)
        )
        and (m.revision > $6 or m.id >= $7)
        and not m.deleted
        and m.visibility <> 'user'
        order by m.id
        limit $8
    )
    union all
    (
        select m.*
        from message_rows m
        where m.chat_id = (select lease.chat_id from lease)
        and m.id > $5
        and m.id <= (select lease.covers_through from lease)
        and (m.revision > $6 or m.id >= $7)
        and m.role = 'system'
        and not m.deleted
    )
),
page as (
    select m.*, (sum(m.content_bytes) over (order by m.id))::bigint as total_bytes
    from (
        select *
        from seen
        order by id
        limit $8
    ) m
),
-- The first row is part of its page, however large it is.
fitting as (
    select *
    from page p
    where p.total_bytes <= $9
    or p.total_bytes = p.content_bytes
)
select
    (
        select coalesce(json_agg(to_json(f) order by f.id), '[]')
        from fitting f
    ) as "messages!: Json<Vec<MessageRow>>",
    (select count(*) from fitting) as "fitting!",
    (select count(*) from page) as "found!"
from lease
