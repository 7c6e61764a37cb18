-- $1 chat, $2 above all messages asked for, $3 how many, $4 bytes of content. The predicate
-- is that of the index messages_prompts, word for word.
select
    m.id,
    m.content,
    m.create_time,
    m.found as "found!"
from (
    select
        m.*,
        row_number() over (order by m.id desc) as place,
        (sum(m.content_bytes) over (order by m.id desc))::bigint as bytes,
        count(*) over () as found
    from (
        select id, content, content_bytes, create_time
        from messages
        where chat_id = $1
        and id < $2
        and role = 'user' and not deleted and visibility in ('user', 'both')
        order by id desc
        limit $3
    ) m
) m
where m.place = 1
or m.bytes <= $4
order by m.id desc
