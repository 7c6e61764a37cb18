-- Deletes a chat for good: erases what was said in it, and keeps who asked which model when,
-- and what that cost. `model_calls` stay as they are. The row stays, and nobody reads it.
-- $1 chat, $2 its version; $3 to $6 its versions after it, $7 length of its queue, $8 its
-- error, $9 version of its client's tools, $10 now, $11 seconds for which a file stays that was
-- uploaded or unlinked. With more than $12 messages or $13 recorded runs what it has of rows is
-- not for one statement: nobody reads it any more, and `erase_some.sql` goes on. Without $14 its
-- files are left to the next sweep of those that no chat is linked to.
with updated as (
    update chats
    set snapshot_version = $3,
        history_version = $4,
        queue_version = $5,
        error_version = $6,
        queue_length = $7,
        last_error = $8,
        client_tools = '[]',
        client_tool_definitions = '[]',
        client_tools_version = $9,
        system_prompt_id = null,
        covers_through = null,
        history_bytes = 0,
        last_turn_summary = '',
        last_answer_id = null,
        has_files = false,
        delete_time = $10,
        erasing = next_message_id - 1 > $12::bigint
            or (
                select count(*)
                from (
                    select
                    from debug_runs r
                    where r.chat_id = $1
                    limit $13::bigint + 1
                ) r
            ) > $13,
        update_time = $10,
        change_xid = pg_current_xact_id()
    where chat_id = $1
    and snapshot_version = $2
    and delete_time is null
    returning chat_id, owner_id, erasing
),
messages_erased as (
    update messages m
    set content_version = 1,
        content = '{"parts": []}',
        internal = null,
        content_bytes = 0,
        search = null,
        revision = $3
    from updated
    where m.chat_id = updated.chat_id
    and not updated.erasing
),
queue_erased as (
    delete from queued_messages q
    using updated
    where q.chat_id = updated.chat_id
    and not updated.erasing
),
-- Names of tools are of the client's making, too.
calls_erased as (
    delete from calls c
    using updated
    where c.chat_id = updated.chat_id
    and not updated.erasing
),
metadata_erased as (
    update chat_metadata d
    set metadata_version = d.metadata_version + 1,
        title = '',
        labels = '{}',
        search = null
    from updated
    where d.chat_id = updated.chat_id
),
unseen as (
    update chat_user_metadata u
    set pin_order = null,
        has_unread = false,
        change_xid = pg_current_xact_id()
    from updated
    where u.chat_id = updated.chat_id
),
jobs_deleted as (
    delete from jobs j
    using updated
    where j.chat_id = updated.chat_id
),
-- Replies show titles and words. Only its owner has asked anything of a chat.
requests_deleted as (
    delete from requests r
    using updated
    where r.actor_id = updated.owner_id
    and r.chat_id = updated.chat_id
    and not updated.erasing
),
debug_deleted as (
    delete from debug_runs r
    using updated
    where r.chat_id = updated.chat_id
    and not updated.erasing
),
unlinked as (
    delete from chat_files l
    using updated
    where l.chat_id = updated.chat_id
    returning l.file_id
),
-- What was uploaded just now may be on its way into another chat.
files_deleted as (
    delete from files f
    using unlinked
    where f.file_id = unlinked.file_id
    and $14::boolean
    and (f.unlink_time is null or f.unlink_time <= now() - make_interval(secs => $11))
    and not exists (
        select
        from chat_files l
        where l.file_id = f.file_id
        and l.chat_id <> $1
    )
    returning f.file_id, f.owner_id, f.sha256
),
files_left as (
    update files f
    set unlink_time = 'epoch'
    from unlinked
    where f.file_id = unlinked.file_id
    and not $14
    and (f.unlink_time is null or f.unlink_time <= now() - make_interval(secs => $11))
),
-- Files of the same content with other names need it still.
contents_deleted as (
    delete from file_contents t
    using (
        select distinct d.owner_id, d.sha256
        from files_deleted d
    ) d
    where t.owner_id = d.owner_id
    and t.sha256 = d.sha256
    and not exists (
        select
        from files f
        where f.owner_id = d.owner_id
        and f.sha256 = d.sha256
        and f.file_id not in (
            select g.file_id
            from files_deleted g
        )
    )
)
select count(*) as "applied!"
from updated
