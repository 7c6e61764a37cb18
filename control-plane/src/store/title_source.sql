-- What a title is made from: the chat's first two turns and its last three, each once.
-- $1 chat, $2 characters of a text after which it is cut, leaving one more to tell.
with prompts as (
    (
        select m.id
        from messages m
        where m.chat_id = $1
        and role = 'user' and not deleted and visibility in ('user', 'both')
        order by m.id
        limit 2
    )
    union (
        select m.id
        from messages m
        where m.chat_id = $1
        and role = 'user' and not deleted and visibility in ('user', 'both')
        order by m.id desc
        limit 3
    )
),
turns as (
    select p.id, lead(p.id) over (order by p.id) as next_id
    from prompts p
)
select
    c.organization_id,
    c.model,
    t.id as "id?",
    (
        select left(string_agg(p.text #>> '{}', E'\n'), $2 + 1)
        from messages m
        cross join lateral jsonb_path_query(
            m.content, '$.parts[*] ? (@.kind == "text").text'
        ) as p (text)
        where m.chat_id = c.chat_id
        and m.id = t.id
    ) as prompt,
    (
        select left(string_agg(p.text #>> '{}', E'\n'), $2 + 1)
        from (
            select m.content
            from messages m
            where m.chat_id = c.chat_id
            and m.id > t.id
            and m.id < coalesce(t.next_id, c.next_message_id)
            and m.role = 'assistant'
            and not m.deleted
            and m.visibility = 'both'
            and jsonb_path_exists(m.content, '$.parts[*] ? (@.kind == "text")')
            order by m.id desc
            limit 1
        ) a
        cross join lateral jsonb_path_query(
            a.content, '$.parts[*] ? (@.kind == "text").text'
        ) as p (text)
    ) as answer
from chats c
left join turns t on true
where c.chat_id = $1
order by t.id
