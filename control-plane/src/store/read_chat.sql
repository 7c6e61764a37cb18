-- Everything a decision may need, in one snapshot and one round trip.
-- $1 chat, $2 actor, $3 request id, $4 bytes of history to hand out with a lease
-- (null: none), $5 rows of it at most, $6 whether it is for the holder of a lease: a
-- write gives none to a chat that has one, and needs no history then.
select
    c.chat_id,
    c.organization_id,
    c.owner_id,
    c.workspace_id,
    c.model,
    c.effort,
    c.client_tools,
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
    c.create_time,
    c.update_time,
    d.metadata_version,
    d.title,
    d.labels as "labels: Json<BTreeMap<String, String>>",
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
                'content_bytes', q.content_bytes
            )
            order by q.position
        )
        from queued_messages q
        where q.chat_id = c.chat_id
        and not q.removed
    ) end as "queue: Json<Vec<QueueRow>>",
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
            select m.*
            from messages m
            where m.chat_id = c.chat_id
            and not m.deleted
            and m.visibility <> 'user'
            order by m.id
            limit $5::bigint + 1
        ) m
    ) end as "turn_input: Json<Vec<MessageRow>>",
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
    ) end as "workspace: Json<WorkspaceRow>"
from chats c
join chat_metadata d on d.chat_id = c.chat_id
where c.chat_id = $1
