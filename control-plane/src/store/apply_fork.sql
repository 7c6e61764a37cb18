-- A copy of a chat up to a message, where its history and its client's tools, whose names
-- were decided on and whose definitions are copied here, still are what was read: all of it
-- in one snapshot, so nothing needs to be locked. A request id that exists fails the whole
-- statement.
-- $1 the chat, $2 version of its history, $3 the last message to copy, $20 version of its
-- client's tools.
with source as (
    select c.chat_id, c.client_tool_definitions, d.title, d.labels, d.search
    from chats c
    join chat_metadata d on d.chat_id = c.chat_id
    where c.chat_id = $1
    and c.history_version = $2
    and c.client_tools_version = $20
    and c.delete_time is null
),
-- What the copy begins with: boundaries by what they cover, instructions wherever they are.
copied as (
    select m.*
    from source
    join messages m on m.chat_id = source.chat_id
    where not m.deleted
    and (m.role = 'system' or coalesce(m.covers_through, m.id) <= $3)
),
created as (
    insert into chats (
        chat_id, organization_id, owner_id, root_chat_id, workspace_id, model, effort, client_tools,
        client_tool_definitions, client_tools_version, action_timeout_ms, system_prompt_id, state,
        snapshot_version, history_version, next_message_id, answered, covers_through, history_bytes, create_time,
        update_time, last_answer_id, has_files, create_xid
    )
    select
        $4, $5, $6, $4, $7, $8, $9, $10, source.client_tool_definitions, 1, $11, $12, 'waiting', 1, 1, $13,
        $14, $15,
        $16 + (
            select coalesce(sum(m.content_bytes), 0)::bigint
            from copied m
            where m.visibility <> 'user'
            and (
                m.role = 'system'
                or (
                    m.id > coalesce($15::bigint, 0)
                    and (m.covers_through is null or m.covers_through = $15)
                )
            )
        ),
        $17, $17, $21, cardinality($22::uuid[]) > 0, pg_current_xact_id()
    from source
    returning chat_id
),
metadata_created as (
    insert into chat_metadata (chat_id, owner_id, title, labels, search)
    select created.chat_id, $6, source.title, source.labels, source.search
    from created, source
),
-- Who copies has read it.
owner_reads as (
    insert into chat_user_metadata (chat_id, user_id, read_message_id)
    select created.chat_id, $6, coalesce($21, 0)
    from created
),
files_linked as (
    insert into chat_files (chat_id, file_id, create_time)
    select created.chat_id, l.file_id, l.create_time
    from created
    join chat_files l on l.chat_id = $1
    where l.file_id = any ($22)
),
messages_copied as (
    insert into messages (
        chat_id, id, role, visibility, content_version, content, internal, content_bytes, created_by,
        model, requested_model, usage, runtime_ms, interrupted, queued_message_id, covers_through,
        revision, create_time, search
    )
    select
        created.chat_id, m.id, m.role, m.visibility, m.content_version, m.content, m.internal,
        m.content_bytes, m.created_by, m.model, m.requested_model, m.usage, m.runtime_ms,
        m.interrupted, m.queued_message_id, m.covers_through, 1, m.create_time, m.search
    from created, copied m
),
-- What the release before has stored is without its words until `search::fill` comes to it.
searched_later as (
    insert into search_backlog (chat_id, bucket)
    select created.chat_id, b.bucket
    from created
    join search_backlog b on b.chat_id = $1
),
-- Results of calls that have none among the copies.
messages_inserted as (
    insert into messages (
        chat_id, id, role, visibility, content_version, content, content_bytes, runtime_ms, revision,
        create_time
    )
    select
        created.chat_id, m.id, m.role, m.visibility, m.content_version, m.content, m.content_bytes,
        m.runtime_ms, 1, $17
    from created, jsonb_to_recordset($18) as m (
        id bigint, role text, visibility text, content_version smallint, content jsonb,
        content_bytes bigint, runtime_ms bigint
    )
),
request_stored as (
    insert into requests (actor_id, request_id, method, body_sha256, chat_id, result)
    select r.actor_id, r.request_id, r.method, decode(r.body_sha256, 'hex'), created.chat_id, r.reply
    from created, jsonb_to_recordset($19) as r (
        actor_id uuid, request_id uuid, method text, body_sha256 text, reply jsonb
    )
)
select count(*) as "applied!"
from created
