-- What some commands ask for beside the chat, where the chat still is what was read. It
-- is a statement of its own because a statement pays for each of its parts before it runs
-- any: in `read_chat.sql` these cost every message a third of its read.
--
-- $1 chat, $2 its version; and, each null or false where it is not asked for: $3 the ends
-- of the history; $4 a message that is to be replaced; $5 the last message that a summary
-- covers and $6 the version of the history that it was made from; $7 the last message that
-- is to be copied; $8 the files: those with the ids $9 of the user $10, and which of the
-- chat's own are referred to by messages below $11 (null: by all, and by the queue but for
-- the message $12).
select
    case when $3::boolean then json_build_object(
        -- What is covered is no end: commands ask for what is behind the newest boundary.
        'last', (
            select m.id
            from messages m
            where m.chat_id = c.chat_id
            and m.id > coalesce(c.covers_through, 0)
            and m.covers_through is null
            and m.role <> 'system'
            and not m.deleted
            order by m.id desc
            limit 1
        ),
        'last_answer', (
            select m.id
            from messages m
            where m.chat_id = c.chat_id
            and m.id > coalesce(c.covers_through, 0)
            and m.covers_through is null
            and m.role = 'assistant'
            and not m.deleted
            order by m.id desc
            limit 1
        )
    ) end as "history_ends: Json<HistoryEndsRow>",
    case when $4::bigint is not null then (
        select json_build_object(
            'role', m.role,
            'created_by', m.created_by,
            'boundary_below', (
                select max(b.covers_through)
                from messages b
                where b.chat_id = c.chat_id
                and b.covers_through < $4
                and not b.deleted
            ),
            'answer_below', (
                select a.id
                from messages a
                where a.chat_id = c.chat_id
                and a.id < $4
                and a.role = 'assistant'
                and a.covers_through is null
                and not a.deleted
                order by a.id desc
                limit 1
            )
        )
        from messages m
        where m.chat_id = c.chat_id
        and m.id = $4
        and m.covers_through is null
        and not m.deleted
    ) end as "target: Json<Target>",
    case when $5::bigint is not null then json_build_object(
        -- A result right behind it would lose its call, and a provider refuse the chat.
        'live', exists (
            select
            from messages m
            where m.chat_id = c.chat_id
            and m.id = $5
            and m.covers_through is null
            and m.role <> 'system'
            and not m.deleted
        ) and coalesce((
            select m.role <> 'tool'
            from messages m
            where m.chat_id = c.chat_id
            and m.id > $5
            and m.covers_through is null
            and m.role <> 'system'
            and not m.deleted
            order by m.id
            limit 1
        ), true),
        'changed_since', exists (
            select
            from messages m
            where m.chat_id = c.chat_id
            and m.revision > $6
            and m.id <= $5
        )
    ) end as "covered: Json<CoveredRow>",
    case when $7::bigint is not null then (
        select json_build_object(
            'covers_through', (
                select max(b.covers_through)
                from messages b
                where b.chat_id = c.chat_id
                and b.covers_through <= $7
                and not b.deleted
            ),
            'last_answer', (
                select a.id
                from messages a
                where a.chat_id = c.chat_id
                and a.id <= $7
                and a.role = 'assistant'
                and a.covers_through is null
                and not a.deleted
                order by a.id desc
                limit 1
            ),
            -- Calls of the last answer that is copied whose results are not: only it can
            -- have some.
            'unanswered', (
                select coalesce(
                    json_agg(
                        json_build_object(
                            'message_id', a.id,
                            'call_index', p.call_index,
                            'tool_name', p.part ->> 'tool_name',
                            'kind', p.part ->> 'call_kind'
                        )
                        order by p.call_index
                    ),
                    '[]'
                )
                from (
                    select a.id, a.content
                    from messages a
                    where a.chat_id = c.chat_id
                    and a.id <= $7
                    and a.role = 'assistant'
                    and a.covers_through is null
                    and not a.deleted
                    order by a.id desc
                    limit 1
                ) a
                cross join lateral (
                    select p.part, row_number() over (order by p.position) - 1 as call_index
                    from jsonb_array_elements(a.content -> 'parts') with ordinality as p (part, position)
                    where p.part ->> 'kind' = 'tool_call'
                ) p
                where not exists (
                    select
                    from messages r
                    where r.chat_id = c.chat_id
                    and r.id > a.id
                    and r.id <= $7
                    and r.role = 'tool'
                    and r.covers_through is null
                    and not r.deleted
                    and (r.content #>> '{parts,0,call_index}')::bigint = p.call_index
                )
            )
        )
        from messages m
        where m.chat_id = c.chat_id
        and m.id = $7
        and m.role <> 'system'
        and m.visibility <> 'model'
        and not m.deleted
    ) end as "fork: Json<ForkRow>",
    case when $8::boolean then json_build_object(
        'asked', (
            select coalesce(
                json_agg(
                    json_build_object(
                        'file_id', f.file_id,
                        'owner_id', f.owner_id,
                        'name', f.name,
                        'media_type', f.media_type,
                        'size_bytes', f.size_bytes,
                        'sha256', encode(f.sha256, 'hex'),
                        'create_time', f.create_time
                    )
                ),
                '[]'
            )
            from files f
            where f.file_id = any ($9::uuid[])
            and f.owner_id = $10
        ),
        'kept', case when c.has_files then (
            select json_agg(distinct r.part ->> 'file_id')
            from (
                (
                    select p.part
                    from messages m
                    cross join lateral jsonb_array_elements(m.content -> 'parts') as p (part)
                    where m.chat_id = c.chat_id
                    and m.role = 'user'
                    and not m.deleted
                    and m.visibility in ('user', 'both')
                    -- Only these have other parts than texts.
                    and m.content_version > 1
                    and ($11::bigint is null or m.id < $11)
                )
                union all
                (
                    select p.part
                    from queued_messages q
                    cross join lateral jsonb_array_elements(q.content -> 'parts') as p (part)
                    where q.chat_id = c.chat_id
                    and not q.removed
                    and q.content_version > 1
                    and $11::bigint is null
                    and q.queued_message_id is distinct from $12::uuid
                )
            ) r
            where r.part ->> 'kind' = 'file'
        ) end
    ) end as "files: Json<FileFactsRow>"
from chats c
where c.chat_id = $1
and c.snapshot_version = $2
