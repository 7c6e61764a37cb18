//! What the release before writes: its own statements, with only the columns that change, and
//! in its own words where they are short. $1 is the chat.

/// An answer that ends the turn. $2 its text.
pub(super) const ANSWER: &str = "
    with updated as (
        update chats
        set state = 'waiting',
            snapshot_version = snapshot_version + 1,
            history_version = snapshot_version + 1,
            leased = false,
            runnable_since = null,
            next_message_id = next_message_id + 1,
            answered = true,
            last_turn_summary = $2,
            update_time = now()
        where chat_id = $1
        returning chat_id, snapshot_version, next_message_id - 1 as id
    ),
    message_inserted as (
        insert into messages (
            chat_id, id, role, visibility, content_version, content, content_bytes, model, usage,
            runtime_ms, interrupted, revision, create_time
        )
        select
            u.chat_id, u.id, 'assistant', 'both', 1,
            jsonb_build_object('parts', jsonb_build_array(jsonb_build_object('kind', 'text', 'text', $2))),
            10, 'test', '{\"input_tokens\": 10, \"output_tokens\": 5}', 1, false, u.snapshot_version, now()
        from updated u
    )
    select count(*) from updated";

/// A message to a chat that waits. $2 its text.
pub(super) const SEND: &str = "
    with updated as (
        update chats
        set state = 'running',
            snapshot_version = snapshot_version + 1,
            history_version = snapshot_version + 1,
            runnable_since = now(),
            next_message_id = next_message_id + 1,
            update_time = now()
        where chat_id = $1
        returning chat_id, owner_id, snapshot_version, next_message_id - 1 as id
    ),
    message_inserted as (
        insert into messages (
            chat_id, id, role, visibility, content_version, content, content_bytes, created_by, model,
            revision, create_time
        )
        select
            u.chat_id, u.id, 'user', 'both', 1,
            jsonb_build_object('parts', jsonb_build_array(jsonb_build_object('kind', 'text', 'text', $2))),
            10, u.owner_id, 'test', u.snapshot_version, now()
        from updated u
    )
    select count(*) from updated";

/// A message to a chat that runs. $2 its text, which is none here.
pub(super) const QUEUE: &str = "
    with updated as (
        update chats
        set queue_length = queue_length + 1,
            snapshot_version = snapshot_version + 1,
            queue_version = snapshot_version + 1,
            update_time = now()
        where chat_id = $1
        returning chat_id, owner_id, snapshot_version
    ),
    queue_inserted as (
        insert into queued_messages (
            chat_id, queued_message_id, position, steering, created_by, model, content_version, content,
            content_bytes, preview_text, revision, create_time
        )
        select
            u.chat_id, gen_random_uuid(), 1, false, u.owner_id, 'test', 1,
            jsonb_build_object('parts', jsonb_build_array(jsonb_build_object('kind', 'text', 'text', $2))),
            10, $2, u.snapshot_version, now()
        from updated u
    )
    select count(*) from updated";

/// The last answer is taken back, as an edit does it. $2 is nothing.
pub(super) const TAKE_BACK: &str = "
    with updated as (
        update chats
        set snapshot_version = snapshot_version + 1,
            history_version = snapshot_version + 1,
            last_turn_summary = $2,
            answered = false,
            update_time = now()
        where chat_id = $1
        returning chat_id, snapshot_version
    ),
    messages_deleted as (
        update messages m
        set deleted = true,
            revision = u.snapshot_version
        from updated u
        where m.chat_id = u.chat_id
        and m.role = 'assistant'
        and not m.deleted
    )
    select count(*) from updated";

/// The chat is archived. $2 is what it is.
pub(super) const ARCHIVE: &str = "
    with updated as (
        update chats
        set archived = true,
            last_turn_summary = $2,
            snapshot_version = snapshot_version + 1,
            update_time = now()
        where chat_id = $1
        returning chat_id
    )
    select count(*) from updated";

/// A job's title. $2 it.
pub(super) const TITLE: &str = "
    with titled as (
        update chat_metadata d
        set title = $2,
            metadata_version = d.metadata_version + 1
        where d.chat_id = $1
        and d.title <> $2::text
        returning d.chat_id
    )
    select count(*) from titled";
