-- The write of most turns: one new message, and nothing of the queue or of calls. It is
-- `apply_update.sql` without what that needs for everything else, which costs half as
-- much again: a message to a waiting chat, and an answer that ends its turn, are this.
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
        history_bytes = $29,
        update_time = $30
    where chat_id = $1
    and snapshot_version = $2
    returning chat_id
),
message_inserted as (
    insert into messages (
        chat_id, id, role, visibility, content_version, content, internal, content_bytes,
        created_by, model, usage, runtime_ms, interrupted, queued_message_id, revision, create_time
    )
    select
        updated.chat_id, $31::bigint, $32::text, $33::text, $34::smallint, $35::jsonb, $36::jsonb,
        $37::bigint, $38::uuid, $39::text, $40::jsonb, $41::bigint, $42::boolean, $43::uuid, $12, $30
    from updated
),
request_stored as (
    insert into requests (actor_id, request_id, method, body_sha256, chat_id, result)
    select $44::uuid, $45::uuid, $46::text, $47::bytea, updated.chat_id, $48::jsonb
    from updated
    where $45::uuid is not null
),
usage_stored as (
    insert into model_calls (
        chat_id, fence, model_call, model, input_tokens, output_tokens, cache_read_tokens,
        cache_write_tokens, reasoning_tokens
    )
    select
        updated.chat_id, $49::bigint, $50::bigint, $51::text, $52::bigint, $53::bigint, $54::bigint,
        $55::bigint, $56::bigint
    from updated
    where $50::bigint is not null
    -- The holder may have reported the same call before; a second write has no effect.
    on conflict (chat_id, fence, model_call) do nothing
)
select count(*) as "applied!"
from updated
