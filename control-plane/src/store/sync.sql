-- What a watcher of a chat does not have yet, in one snapshot and one round trip.
-- $1 chat; $2, $3 revision and id of the last row it has; $4, $5 the same of the queue;
-- $6 it has nothing that was removed in this revision or before; $7 rows and entries
-- of a page, $8 bytes of its rows; $9 who watches.
with newer_messages as (
    select
        m.id, m.role, m.visibility, m.content_version, m.content, m.content_bytes, m.created_by, m.model,
        m.requested_model, m.usage, m.runtime_ms, m.interrupted, m.queued_message_id, m.covers_through,
        m.revision, m.deleted, m.create_time
    from messages m
    where m.chat_id = $1
    and (m.revision, m.id) > ($2, $3)
    and m.role <> 'system'
    and m.visibility <> 'model'
    and (not m.deleted or m.revision > $6)
    order by m.revision, m.id
    -- One more than a page has, by which it is seen that more follow.
    limit $7::bigint + 1
),
measured_messages as (
    select
        m.*,
        row_number() over in_order as place,
        (sum(case when m.deleted then 0 else m.content_bytes end) over in_order)::bigint as bytes
    from newer_messages m
    window in_order as (order by m.revision, m.id)
),
newer_queue as (
    select
        q.queued_message_id, q.position, q.steering, q.preview_text, q.created_by, q.model, q.effort,
        q.create_time, q.removed, q.revision
    from queued_messages q
    where q.chat_id = $1
    and (q.revision, q.queued_message_id) > ($4, $5)
    and (not q.removed or q.revision > $6)
    order by q.revision, q.queued_message_id
    limit $7::bigint + 1
)
select
    c.chat_id, c.organization_id, c.owner_id, c.workspace_id, c.model, c.effort,
    c.client_tools as "client_tools: Json<Vec<String>>", c.action_timeout_ms, c.state, c.archived,
    c.queue_length, c.snapshot_version, c.history_version, c.queue_version, c.retry_version,
    c.error_version, c.retry as "retry: Json<Retry>", c.last_error as "last_error: Json<ChatError>",
    c.fence, c.leased, c.action_deadline, c.last_turn_summary, c.compact_requested, c.create_time, c.update_time, d.metadata_version, d.title,
    d.labels as "labels: Json<BTreeMap<String, String>>",
    c.parent_chat_id, c.archive_time, u.pin_order as "pin_order?", u.read_message_id as "read_message_id?",
    u.has_unread as "has_unread?",
    case when c.has_files then (
        select json_agg(
            json_build_object(
                'file_id', f.file_id,
                'owner_id', f.owner_id,
                'name', f.name,
                'media_type', f.media_type,
                'size_bytes', f.size_bytes,
                'sha256', encode(f.sha256, 'hex'),
                'create_time', f.create_time
            )
            order by l.create_time, l.file_id
        )
        from chat_files l
        join files f on f.file_id = l.file_id
        where l.chat_id = c.chat_id
    ) end as "files: Json<Vec<FileView>>",
    (select count(*) from newer_messages) as "messages_found!",
    (
        select json_agg(
            case
                when m.deleted
                then json_build_object(
                    'deleted', json_build_object('id', m.id, 'revision', m.revision)
                )
                else json_build_object('live', to_json(m))
            end
            order by m.revision, m.id
        )
        from measured_messages m
        where m.place = 1
        or (m.place <= $7 and m.bytes <= $8)
    ) as "messages: Json<Vec<MessageChangeRow>>",
    (
        select json_agg(to_json(q) order by q.revision, q.queued_message_id)
        from newer_queue q
    ) as "queue: Json<Vec<QueueChangeRow>>",
    case when c.open_call_count > 0 then (
        select json_agg(
            json_build_object(
                'message_id', o.message_id,
                'call_index', o.call_index,
                'tool_name', o.tool_name,
                'kind', o.kind
            )
            order by o.message_id, o.call_index
        )
        from calls o
        where o.chat_id = c.chat_id
        and not o.settled
    ) end as "open_calls: Json<Vec<CallRow>>",
    s.replica_id as "replica_id?", s.connection as "connection?"
from chats c
join chat_metadata d on d.chat_id = c.chat_id
left join sessions s on c.leased and s.session_id = c.session_id and s.close_time is null
left join chat_user_metadata u on u.chat_id = c.chat_id and u.user_id = $9
where c.chat_id = $1
and c.delete_time is null
