-- Rows of one chat follow each other in the order of their commits, since whoever writes
-- one holds its lock; `number` keeps that order.
create table library_journal (
    number bigserial primary key,
    xid bigint not null,
    relation text not null,
    chat_id uuid not null,
    user_id uuid,
    said jsonb not null
);

create function library_chat_written() returns trigger language plpgsql as $$
begin
    insert into library_journal (xid, relation, chat_id, user_id, said)
    values (
        pg_current_xact_id()::text::bigint, 'chats', new.chat_id, new.owner_id,
        jsonb_build_object(
            'organization_id', new.organization_id,
            'workspace_id', coalesce(new.workspace_id::text, ''),
            'parent_chat_id', coalesce(new.parent_chat_id::text, ''),
            'snapshot_version', new.snapshot_version,
            'history_version', new.history_version,
            'queue_version', new.queue_version,
            'state', new.state,
            'archived', new.archived,
            'model', new.model,
            'effort', new.effort,
            'queue_length', new.queue_length,
            'last_turn_summary', new.last_turn_summary,
            'compact_requested', new.compact_requested,
            'client_tools', new.client_tools,
            'action_timeout_ms', new.action_timeout_ms,
            'open_call_count', case when new.state = 'suspended' then new.open_call_count else 0 end,
            'action_deadline_us', (extract(epoch from new.action_deadline) * 1000000)::bigint,
            'last_error', new.last_error,
            'retry', new.retry,
            'create_us', (extract(epoch from new.create_time) * 1000000)::bigint,
            'update_us', (extract(epoch from new.update_time) * 1000000)::bigint,
            'archive_us', (extract(epoch from new.archive_time) * 1000000)::bigint,
            'is_deleted', new.delete_time is not null
        )
    );
    return null;
end $$;
create trigger library_chat_written after insert or update on chats
    for each row execute function library_chat_written();

create function library_metadata_written() returns trigger language plpgsql as $$
begin
    insert into library_journal (xid, relation, chat_id, user_id, said)
    values (
        pg_current_xact_id()::text::bigint, 'chat_metadata', new.chat_id, null,
        jsonb_build_object(
            'metadata_version', new.metadata_version, 'title', new.title, 'labels', new.labels
        )
    );
    return null;
end $$;
create trigger library_metadata_written after insert or update on chat_metadata
    for each row execute function library_metadata_written();

create function library_user_written() returns trigger language plpgsql as $$
begin
    insert into library_journal (xid, relation, chat_id, user_id, said)
    values (
        pg_current_xact_id()::text::bigint, 'chat_user_metadata', new.chat_id, new.user_id,
        jsonb_build_object(
            'pin_order', coalesce(new.pin_order, 0),
            'read_message_id', coalesce(new.read_message_id, 0),
            'has_unread', new.has_unread
        )
    );
    return null;
end $$;
create trigger library_user_written after insert or update on chat_user_metadata
    for each row execute function library_user_written();

create function library_file_linked() returns trigger language plpgsql as $$
begin
    insert into library_journal (xid, relation, chat_id, user_id, said)
    values (
        pg_current_xact_id()::text::bigint, 'chat_files', coalesce(new.chat_id, old.chat_id), null,
        jsonb_build_object('file_id', coalesce(new.file_id, old.file_id), 'is_linked', tg_op = 'INSERT')
    );
    return null;
end $$;
create trigger library_file_linked after insert or delete on chat_files
    for each row execute function library_file_linked();
