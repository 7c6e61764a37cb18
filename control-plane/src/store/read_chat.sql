-- Everything that most decisions need, in one snapshot and one round trip; what only some
-- need is in `read_facts.sql`.
-- $1 chat, $2 actor, $3 request id, $4 bytes of history to hand out with a lease
-- (null: none), $5 rows of it at most, $6 whether it is for the holder of a lease: a
-- write gives none to a chat that has one, and needs no history then. $7 an entry of the
-- queue that will be shown. $8 the user who will be shown the chat (null: nobody).
-- $9 whether what runs is counted, for a cap.
select
    c.chat_id,
    c.organization_id,
    c.owner_id,
    c.workspace_id,
    c.model,
    c.effort,
    c.client_tools,
    c.client_tools_version,
    c.action_timeout_ms,
    c.system_prompt_id,
    c.state,
    c.archived,
    c.snapshot_version,
    c.history_version,
    c.queue_version,
    c.retry_version,
    c.error_version,
    c.attempt,
    c.retry as "retry: Json<Retry>",
    c.last_error as "last_error: Json<ChatError>",
    c.fence,
    c.session_id,
    c.leased,
    c.last_write as "last_write: Json<LastWrite>",
    c.runnable_since,
    c.interrupt_time,
    c.action_deadline,
    c.next_message_id,
    c.answered,
    c.history_bytes,
    c.covers_through,
    c.compact_requested,
    c.last_turn_summary,
    c.create_time,
    c.update_time,
    d.metadata_version,
    d.title,
    d.labels as "labels: Json<BTreeMap<String, String>>",
    c.parent_chat_id,
    c.archive_time,
    c.last_answer_id,
    c.has_files,
    u.pin_order as "pin_order?",
    u.read_message_id as "read_message_id?",
    u.has_unread as "has_unread?",
    case when c.has_files and $8 is not null then (
        select json_agg(
            json_build_object(
                'file_id', f.file_id,
                'owner_id', f.owner_id,
                'name', f.name,
                'media_type', f.media_type,
                'size_bytes', f.size_bytes,
                'sha256', encode(f.sha256, 'hex'),
                'create_time', f.create_time
            )
            order by l.create_time, l.file_id
        )
        from chat_files l
        join files f on f.file_id = l.file_id
        where l.chat_id = c.chat_id
    ) end as "files: Json<Vec<FileView>>",
    clock_timestamp() as "now!",
    case when c.queue_length > 0 then (
        select jsonb_agg(
            jsonb_build_object(
                'id', q.queued_message_id,
                'position', q.position,
                'steering', q.steering,
                'created_by', q.created_by,
                'model', q.model,
                'effort', q.effort,
                'content_bytes', q.content_bytes,
                'shown', case when q.queued_message_id = $7 then jsonb_build_object(
                    'preview_text', q.preview_text,
                    'create_time', q.create_time
                ) end
            )
            order by q.position
        )
        from queued_messages q
        where q.chat_id = c.chat_id
        and not q.removed
    ) end as "queue: Json<Vec<QueueRow>>",
    -- A queued message that names none of these falls back to the default one.
    case when c.queue_length > 0 then (
        select json_agg(json_build_object('name', m.name, 'is_default', m.is_default))
        from models m
        where m.organization_id = c.organization_id
        and m.enabled
    ) end as "models: Json<Vec<UsableModel>>",
    case when c.open_call_count > 0 then (
        select jsonb_agg(
            jsonb_build_object(
                'message_id', o.message_id,
                'call_index', o.call_index,
                'tool_name', o.tool_name,
                'kind', o.kind,
                'workspace_id', o.workspace_id,
                'journal_id', o.journal_id
            )
            order by o.message_id, o.call_index
        )
        from calls o
        where o.chat_id = c.chat_id
        and not o.settled
    ) end as "open_calls: Json<Vec<CallRow>>",
    case when $3::uuid is not null then (
        select jsonb_build_object(
            'method', r.method,
            'body_sha256', encode(r.body_sha256, 'hex'),
            'reply', r.result
        )
        from requests r
        where r.actor_id = $2
        and r.request_id = $3
    ) end as "request: Json<StoredRequest>",
    case when c.history_bytes <= $4 and c.leased = $6 then (
        -- One row more than may be handed out tells that there are more. json and not
        -- jsonb, which would be built only to be written out: half the time of the read.
        select case when count(*) <= $5::bigint then coalesce(json_agg(to_json(m) order by m.id), '[]') end
        from (
            -- What the model sees, as `turn_page` reads it, too: what is above the last
            -- message covered, the newest boundary's own row included, ...
            (
                select m.*
                from message_rows m
                where m.chat_id = c.chat_id
                and m.id > coalesce(c.covers_through, 0)
                and (m.covers_through is null or m.covers_through = c.covers_through)
                and not m.deleted
                and m.visibility <> 'user'
                order by m.id
                limit $5::bigint + 1
            )
            union all
            -- ... and instructions, which nothing covers.
            (
                select m.*
                from message_rows m
                where m.chat_id = c.chat_id
                and m.id <= c.covers_through
                and m.role = 'system'
                and not m.deleted
            )
        ) m
    ) end as "turn_input: Json<Vec<MessageRow>>",
    case when c.leased = $6 and ($6 or $4 is not null) then json_build_object(
        'client_tools', c.client_tool_definitions,
        'user_instructions', (
            select u.text
            from user_instructions u
            where u.user_id = c.owner_id
        ),
        'compaction_thresholds', (
            select json_object_agg(t.model, t.percent)
            from compaction_thresholds t
            where t.user_id = c.owner_id
            and t.organization_id = c.organization_id
        ),
        'debug_recording', (
            select p.policy = 'forced'
                or (
                    p.policy = 'allowed'
                    and exists (
                        select
                        from debug_choices d
                        where d.user_id = c.owner_id
                        and d.enabled
                    )
                )
            from debug_policies p
            where p.organization_id = c.organization_id
        )
    ) end as "turn_settings: Json<TurnSettings>",
    case when c.workspace_id is not null then (
        select jsonb_build_object(
            'workspace_id', w.workspace_id,
            'owner_id', w.owner_id,
            'name', w.name,
            'tools', w.tools,
            'journal_id', w.journal_id
        )
        from workspaces w
        where w.workspace_id = c.workspace_id
    ) end as "workspace: Json<WorkspaceRow>",
    case when $9 then json_build_object(
        'owner', (select count(*) from chats l where l.leased and l.owner_id = c.owner_id),
        'organization', (select count(*) from chats l where l.leased and l.organization_id = c.organization_id)
    ) end as "running: Json<Running>"
from chats c
join chat_metadata d on d.chat_id = c.chat_id
left join chat_user_metadata u on u.chat_id = c.chat_id and u.user_id = $8
where c.chat_id = $1
and c.delete_time is null
