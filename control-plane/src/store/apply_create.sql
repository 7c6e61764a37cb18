-- The first write of a chat. A request id that exists fails the whole statement.
with created as (
    insert into chats (
        chat_id, organization_id, owner_id, root_chat_id, workspace_id, model, effort, client_tools,
        client_tool_definitions, client_tools_version, action_timeout_ms, system_prompt_id, state,
        snapshot_version, history_version, attempt, fence, session_id, leased, runnable_since, next_message_id,
        history_bytes, create_time, update_time, has_files, create_xid
    )
    values (
        $1, $2, $3, $1, $4, $5, $6, $7, $8, 1, $9, $10, 'running', 1, 1, $11, $12, $13, $14, $15, $16, $17,
        $18, $18, cardinality($24::uuid[]) > 0, pg_current_xact_id()
    )
    returning chat_id
),
metadata_created as (
    insert into chat_metadata (chat_id, owner_id, title, labels, search)
    select created.chat_id, $3, $19, $20, $25::text::tsvector
    from created
),
owner_reads as (
    insert into chat_user_metadata (chat_id, user_id)
    select created.chat_id, $3
    from created
),
messages_inserted as (
    insert into messages (
        chat_id, id, role, visibility, content_version, content, internal, content_bytes,
        created_by, model, revision, create_time, search
    )
    select
        created.chat_id, m.id, m.role, m.visibility, m.content_version, m.content, m.internal,
        m.content_bytes, m.created_by, m.model, 1, $18, m.search::tsvector
    from created, jsonb_to_recordset($21) as m (
        id bigint, role text, visibility text, content_version smallint, content jsonb, internal jsonb,
        content_bytes bigint, created_by uuid, model text, search text
    )
),
files_linked as (
    insert into chat_files (chat_id, file_id, create_time)
    select created.chat_id, l.file_id, $18
    from created, unnest($24) as l (file_id)
),
request_stored as (
    insert into requests (actor_id, request_id, method, body_sha256, chat_id, result)
    select r.actor_id, r.request_id, r.method, decode(r.body_sha256, 'hex'), created.chat_id, r.reply
    from created, jsonb_to_recordset($22) as r (
        actor_id uuid, request_id uuid, method text, body_sha256 text, reply jsonb
    )
),
title_asked as (
    insert into jobs (job_id, chat_id, kind, metadata_version)
    select $23, created.chat_id, 'title', 1
    from created
    where $23::uuid is not null
)
select count(*) as "applied!"
from created
