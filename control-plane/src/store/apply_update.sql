-- The write: everything hangs on the compared update, so that a lost compare
-- writes nothing, the request id included.
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
        -- $35 counts what was seen and what is new. Rows from $36 on may leave the model's
        -- view, deleted or covered by a boundary, or come back into it with a boundary's end.
        history_bytes = $35 + case when $36::bigint is not null then (
            select coalesce(
                sum(
                    m.content_bytes * (
                        (
                            m.id is distinct from $38::bigint
                            and (
                                m.role = 'system'
                                or (
                                    m.id > coalesce($31::bigint, 0)
                                    and (m.covers_through is null or m.covers_through is not distinct from $31)
                                    and ($37::bigint is null or coalesce(m.covers_through, m.id) < $37)
                                )
                            )
                        )::integer
                        - (
                            m.role = 'system'
                            or (
                                m.id > coalesce(chats.covers_through, 0)
                                and (
                                    m.covers_through is null
                                    or m.covers_through is not distinct from chats.covers_through
                                )
                            )
                        )::integer
                    )
                ),
                0
            )::bigint
            from messages m
            where m.chat_id = $1
            and m.id >= $36
            and m.visibility <> 'user'
            and not m.deleted
        ) else 0 end,
        last_answer_id = $48,
        has_files = has_files or cardinality($50::uuid[]) > 0
    where chat_id = $1
    and snapshot_version = $2
    returning chat_id
),
-- $37 and what is above it, by the id that counts for it; and $38. A boundary's row that is
-- above $37 and stays gets the revision, too: readers forget all above $37, and get it again.
messages_deleted as (
    update messages m
    set deleted = coalesce(m.id = $38, false) or coalesce(m.covers_through, m.id) >= $37,
        search = null,
        revision = $14
    from updated
    where m.chat_id = updated.chat_id
    and m.id >= least($37, $38)
    and (m.id = $38 or (m.id >= $37 and m.role <> 'system'))
    and not m.deleted
),
messages_inserted as (
    insert into messages (
        chat_id, id, role, visibility, content_version, content, internal, content_bytes, created_by,
        model, requested_model, usage, runtime_ms, interrupted, queued_message_id, covers_through,
        revision, create_time, search
    )
    select
        updated.chat_id, m.id, m.role, m.visibility, m.content_version, m.content, m.internal,
        m.content_bytes, m.created_by, m.model, m.requested_model, m.usage, m.runtime_ms,
        m.interrupted, m.queued_message_id, m.covers_through, $14, $34, m.search::tsvector
    from updated, jsonb_to_recordset($39) as m (
        id bigint, role text, visibility text, content_version smallint, content jsonb, internal jsonb,
        content_bytes bigint, created_by uuid, model text, requested_model text, usage jsonb,
        runtime_ms bigint, interrupted boolean, queued_message_id uuid, covers_through bigint, search text
    )
),
queued_entered as (
    insert into messages (
        chat_id, id, role, visibility, content_version, content, content_bytes, created_by, model,
        requested_model, queued_message_id, revision, create_time, search
    )
    select
        updated.chat_id, e.message_id, 'user', 'both', q.content_version, q.content, q.content_bytes,
        q.created_by, coalesce(e.fallback_model, q.model, $4),
        case when e.fallback_model is not null then q.model end, q.queued_message_id, $14, $34,
        q.search
    from updated
    cross join jsonb_to_recordset($40) as e (
        queued_message_id uuid, message_id bigint, fallback_model text
    )
    join queued_messages q
        on q.chat_id = updated.chat_id
        and q.queued_message_id = e.queued_message_id
),
queue_removed as (
    update queued_messages q
    set removed = true,
        -- Of what has entered it tells from now on whether it extended a turn, or began one.
        steering = exists (
            select
            from jsonb_to_recordset($40) as e (queued_message_id uuid, steering boolean)
            where e.queued_message_id = q.queued_message_id
            and e.steering
        ),
        revision = $14
    from updated
    where q.chat_id = updated.chat_id
    and q.queued_message_id = any ($41::uuid[])
),
queue_changed as (
    update queued_messages q
    set position = n.position,
        steering = n.steering,
        content_version = coalesce(n.content_version, q.content_version),
        content = coalesce(n.content, q.content),
        content_bytes = n.content_bytes,
        preview_text = coalesce(n.preview_text, q.preview_text),
        search = case when n.content is null then q.search else n.search::tsvector end,
        revision = $14
    from updated, jsonb_to_recordset($42) as n (
        queued_message_id uuid, position bigint, steering boolean, content_version smallint,
        content jsonb, content_bytes bigint, preview_text text, search text
    )
    where q.chat_id = updated.chat_id
    and q.queued_message_id = n.queued_message_id
),
queue_inserted as (
    insert into queued_messages (
        chat_id, queued_message_id, position, steering, created_by, model, effort, content_version,
        content, content_bytes, preview_text, revision, create_time, search
    )
    select
        updated.chat_id, n.queued_message_id, n.position, n.steering, n.created_by, n.model, n.effort,
        n.content_version, n.content, n.content_bytes, n.preview_text, $14, $34,
        n.search::tsvector
    from updated, jsonb_to_recordset($43) as n (
        queued_message_id uuid, position bigint, steering boolean, created_by uuid, model text,
        effort text, content_version smallint, content jsonb, content_bytes bigint, preview_text text,
        search text
    )
),
calls_settled as (
    update calls c
    set settled = true
    from updated, jsonb_to_recordset($44) as s (message_id bigint, call_index integer)
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
    from updated, jsonb_to_recordset($45) as o (
        message_id bigint, call_index integer, tool_name text, kind text, workspace_id uuid,
        journal_id uuid, settled boolean
    )
),
-- Rows of who reads the chat. With a new answer they are written even where the value stays:
-- whoever reads it at the same time is waited for, or waits, and neither misses the other.
-- With archiving they lose their pins.
seen as (
    update chat_user_metadata u
    set has_unread = case
            when $49::boolean then coalesce($48 > u.read_message_id, false)
            else u.has_unread
        end,
        read_xid = case
            when $49 and u.has_unread <> coalesce($48 > u.read_message_id, false) then pg_current_xact_id()
            else u.read_xid
        end,
        pin_order = case when $11 then null else u.pin_order end,
        pin_xid = case when $11 and u.pin_order is not null then pg_current_xact_id() else u.pin_xid end,
        change_xid = case
            when ($49 and u.has_unread <> coalesce($48 > u.read_message_id, false))
                or ($11 and u.pin_order is not null)
            then pg_current_xact_id()
            else u.change_xid
        end
    from updated
    where u.chat_id = updated.chat_id
    -- Not only where a pin is seen: one that is being written is behind the row's lock.
    and ($49 or $11)
),
files_linked as (
    insert into chat_files (chat_id, file_id, create_time)
    select updated.chat_id, l.file_id, $34
    from updated, unnest($50::uuid[]) as l (file_id)
),
files_unlinked as (
    delete from chat_files l
    using updated
    where l.chat_id = updated.chat_id
    and l.file_id = any ($51::uuid[])
    returning l.file_id
),
-- Another chat may be linked to them: whoever looks for what is not, looks for that, too.
files_marked as (
    update files f
    set unlink_time = now()
    from files_unlinked l
    where f.file_id = l.file_id
),
-- Of an edit of message $37: what was recorded after the message before it.
debug_deleted as (
    delete from debug_runs r
    using updated
    where r.chat_id = updated.chat_id
    and $37 is not null
    and (
        r.trigger_message_id > $37 - 1
        or r.history_tip_message_id > $37 - 1
        or exists (
            select
            from debug_steps s
            where s.chat_id = r.chat_id
            and s.run_id = r.run_id
            and (s.assistant_message_id > $37 - 1 or s.history_tip_message_id > $37 - 1)
        )
    )
),
request_stored as (
    insert into requests (actor_id, request_id, method, body_sha256, chat_id, result)
    select r.actor_id, r.request_id, r.method, decode(r.body_sha256, 'hex'), updated.chat_id, r.reply
    from updated, jsonb_to_recordset($46) as r (
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
    from updated, jsonb_to_recordset($47) as u (
        fence bigint, model_call bigint, model text, input_tokens bigint, output_tokens bigint,
        cache_read_tokens bigint, cache_write_tokens bigint, reasoning_tokens bigint
    )
    -- The holder may have reported the same call before; a second write has no effect.
    on conflict (chat_id, fence, model_call) do nothing
)
select count(*) as "applied!"
from updated
