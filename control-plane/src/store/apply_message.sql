-- The write of most turns: one new message, and nothing of the queue or of calls. It is
-- `apply_update.sql` without what that needs for everything else, which costs half as
-- much again: a message to a waiting chat, and an answer that ends its turn, are this.
with updated as (
    update chats
    set workspace_id = $3,
        model = $4,
        effort = $5,
        -- What is large is written only when it changes, so that it is not copied each time.
        client_tools = coalesce($6, client_tools),
        client_tool_definitions = coalesce($7, client_tool_definitions),
        client_tools_version = case when $7 is null then client_tools_version else $14 end,
        action_timeout_ms = $8,
        system_prompt_id = $9,
        state = $10,
        archived = $11,
        queue_length = $12,
        open_call_count = $13,
        snapshot_version = $14,
        history_version = $15,
        queue_version = $16,
        retry_version = $17,
        error_version = $18,
        attempt = $19,
        retry = $20,
        last_error = $21,
        fence = $22,
        session_id = $23,
        leased = $24,
        last_write = $25,
        runnable_since = $26,
        interrupt_time = $27,
        action_deadline = $28,
        next_message_id = $29,
        answered = $30,
        covers_through = $31,
        compact_requested = $32,
        last_turn_summary = $33,
        update_time = $34,
        -- What of the chat changes, for those who follow all of their chats.
        change_xid = pg_current_xact_id(),
        state_xid = case when state = $10 then state_xid else pg_current_xact_id() end,
        archive_xid = case when archived = $11 then archive_xid else pg_current_xact_id() end,
        archive_time = case when archived = $11 then archive_time when $11 then $34 end,
        summary_xid = case when last_turn_summary = $33 then summary_xid else pg_current_xact_id() end,
        action_xid = case
            when action_deadline is not distinct from $28 and ($28 is null or open_call_count = $13)
            then action_xid
            else pg_current_xact_id()
        end,
        history_bytes = $35,
        last_answer_id = coalesce($57, last_answer_id)
    where chat_id = $1
    and snapshot_version = $2
    returning chat_id
),
message_inserted as (
    insert into messages (
        chat_id, id, role, visibility, content_version, content, internal, content_bytes, created_by,
        model, requested_model, usage, runtime_ms, interrupted, queued_message_id, revision, create_time,
        search
    )
    select
        updated.chat_id, $36::bigint, $37::text, $38::text, $39::smallint, $40::jsonb, $41::jsonb,
        $42::bigint, $43::uuid, $44::text, $45::text, $46::jsonb, $47::bigint, $48::boolean, $49::uuid,
        $14, $34, $58::text::tsvector
    from updated
),
-- The rows are written even where the value stays: whoever reads the chat at the same time
-- is waited for, or waits, and neither misses the other.
unread as (
    update chat_user_metadata u
    set has_unread = $57 > u.read_message_id,
        read_xid = case
            when u.has_unread = ($57 > u.read_message_id) then u.read_xid
            else pg_current_xact_id()
        end,
        change_xid = case
            when u.has_unread = ($57 > u.read_message_id) then u.change_xid
            else pg_current_xact_id()
        end
    from updated
    where u.chat_id = updated.chat_id
    and $57::bigint is not null
),
request_stored as (
    insert into requests (actor_id, request_id, method, body_sha256, chat_id, result)
    select $50::uuid, $51::uuid, $52::text, $53::bytea, updated.chat_id, $54::jsonb
    from updated
    where $51::uuid is not null
),
usage_stored as (
    insert into model_calls (
        chat_id, fence, model_call, model, input_tokens, output_tokens, cache_read_tokens,
        cache_write_tokens, reasoning_tokens
    )
    select
        updated.chat_id, call.numbers[1], call.numbers[2], $55::text, call.numbers[3], call.numbers[4],
        call.numbers[5], call.numbers[6], call.numbers[7]
    from updated, (select $56::bigint[] as numbers) call
    where call.numbers is not null
    -- The holder may have reported the same call before; a second write has no effect.
    on conflict (chat_id, fence, model_call) do nothing
)
select count(*) as "applied!"
from updated
