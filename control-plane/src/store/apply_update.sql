-- The write: everything hangs on the compared update, so that a lost compare
-- writes nothing, the request id included.
with updated as (
    update chats
    set workspace_id = $3,
        model = $4,
        effort = $5,
        client_tools = $6,
        system_prompt_id = $7,
        state = $8,
        archived = $9,
        queue_length = $10,
        open_call_count = $11,
        snapshot_version = $12,
        history_version = $13,
        queue_version = $14,
        retry_version = $15,
        error_version = $16,
        attempt = $17,
        retry = $18,
        last_error = $19,
        fence = $20,
        session_id = $21,
        leased = $22,
        last_write = $23,
        runnable_since = $24,
        interrupt_time = $25,
        action_deadline = $26,
        next_message_id = $27,
        answered = $28,
        history_bytes = $29 - case when $31::bigint is null and $32::bigint is null then 0 else (
            select coalesce(sum(m.content_bytes), 0)::bigint
            from messages m
            where m.chat_id = $1
            and not m.deleted
            and (m.id >= $31 or m.id = $32)
        ) end,
        update_time = $30
    where chat_id = $1
    and snapshot_version = $2
    returning chat_id
),
messages_deleted as (
    update messages m
    set deleted = true,
        revision = $12
    from updated
    where m.chat_id = updated.chat_id
    and not m.deleted
    and (m.id >= $31 or m.id = $32)
),
messages_inserted as (
    insert into messages (
        chat_id, id, role, visibility, content_version, content, internal, content_bytes,
        created_by, model, usage, runtime_ms, interrupted, queued_message_id, revision, create_time
    )
    select
        updated.chat_id, m.id, m.role, m.visibility, m.content_version, m.content, m.internal,
        m.content_bytes, m.created_by, m.model, m.usage, m.runtime_ms, m.interrupted,
        m.queued_message_id, $12, $30
    from updated, jsonb_to_recordset($33) as m (
        id bigint, role text, visibility text, content_version smallint, content jsonb, internal jsonb,
        content_bytes bigint, created_by uuid, model text, usage jsonb, runtime_ms bigint,
        interrupted boolean, queued_message_id uuid
    )
),
queued_entered as (
    insert into messages (
        chat_id, id, role, visibility, content_version, content, content_bytes, created_by, model,
        queued_message_id, revision, create_time
    )
    select
        updated.chat_id, e.message_id, 'user', 'both', q.content_version, q.content, q.content_bytes,
        q.created_by, coalesce(q.model, $4), q.queued_message_id, $12, $30
    from updated
    cross join jsonb_to_recordset($34) as e (queued_message_id uuid, message_id bigint)
    join queued_messages q
        on q.chat_id = updated.chat_id
        and q.queued_message_id = e.queued_message_id
),
queue_removed as (
    update queued_messages q
    set removed = true,
        revision = $12
    from updated
    where q.chat_id = updated.chat_id
    and q.queued_message_id = any ($35::uuid[])
),
queue_changed as (
    update queued_messages q
    set position = n.position,
        steering = n.steering,
        content_version = coalesce(n.content_version, q.content_version),
        content = coalesce(n.content, q.content),
        content_bytes = n.content_bytes,
        preview_text = coalesce(n.preview_text, q.preview_text),
        revision = $12
    from updated, jsonb_to_recordset($36) as n (
        queued_message_id uuid, position bigint, steering boolean, content_version smallint,
        content jsonb, content_bytes bigint, preview_text text
    )
    where q.chat_id = updated.chat_id
    and q.queued_message_id = n.queued_message_id
),
queue_inserted as (
    insert into queued_messages (
        chat_id, queued_message_id, position, steering, created_by, model, effort, content_version,
        content, content_bytes, preview_text, revision, create_time
    )
    select
        updated.chat_id, n.queued_message_id, n.position, n.steering, n.created_by, n.model, n.effort,
        n.content_version, n.content, n.content_bytes, n.preview_text, $12, $30
    from updated, jsonb_to_recordset($37) as n (
        queued_message_id uuid, position bigint, steering boolean, created_by uuid, model text,
        effort text, content_version smallint, content jsonb, content_bytes bigint, preview_text text
    )
),
calls_settled as (
    update calls c
    set settled = true
    from updated, jsonb_to_recordset($38) as s (message_id bigint, call_index integer)
    where c.chat_id = updated.chat_id
    and c.message_id = s.message_id
    and c.call_index = s.call_index
),
calls_opened as (
    insert into calls (
        chat_id, message_id, call_index, tool_name, kind, workspace_id, journal_id, settled
    )
    select
        updated.chat_id, o.message_id, o.call_index, o.tool_name, o.kind, o.workspace_id, o.journal_id,
        o.settled
    from updated, jsonb_to_recordset($39) as o (
        message_id bigint, call_index integer, tool_name text, kind text, workspace_id uuid,
        journal_id uuid, settled boolean
    )
),
request_stored as (
    insert into requests (actor_id, request_id, method, body_sha256, chat_id, result)
    select r.actor_id, r.request_id, r.method, decode(r.body_sha256, 'hex'), updated.chat_id, r.reply
    from updated, jsonb_to_recordset($40) as r (
        actor_id uuid, request_id uuid, method text, body_sha256 text, reply jsonb
    )
),
usage_stored as (
    insert into model_calls (
        chat_id, fence, model_call, model, input_tokens, output_tokens, cache_read_tokens,
        cache_write_tokens, reasoning_tokens
    )
    select
        updated.chat_id, u.fence, u.model_call, u.model, u.input_tokens, u.output_tokens,
        u.cache_read_tokens, u.cache_write_tokens, u.reasoning_tokens
    from updated, jsonb_to_recordset($41) as u (
        fence bigint, model_call bigint, model text, input_tokens bigint, output_tokens bigint,
        cache_read_tokens bigint, cache_write_tokens bigint, reasoning_tokens bigint
    )
    -- The holder may have reported the same call before; a second write has no effect.
    on conflict (chat_id, fence, model_call) do nothing
)
select count(*) as "applied!"
from updated
