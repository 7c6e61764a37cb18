//! What must hold of every single write: triggers of the test's own database write down
//! each that breaks a rule.

use chatplane_tests::Database;
use sqlx::Executor as _;

/// Versions grow, leases follow each other, and what is stored stays.
const TRIGGERS: &str = r"
create table soak_faults (what text not null);

create function soak_chat_updated() returns trigger language plpgsql as $$
declare
    old_write bigint := (old.last_write ->> 'write_no')::bigint;
    new_write bigint := (new.last_write ->> 'write_no')::bigint;
begin
    insert into soak_faults
    select format('chat %s at snapshot %s: %s', new.chat_id, new.snapshot_version, f.what)
    from (values
        ('snapshot does not follow the one before', new.snapshot_version <> old.snapshot_version + 1),
        ('a version falls', new.history_version < old.history_version
            or new.queue_version < old.queue_version
            or new.retry_version < old.retry_version
            or new.error_version < old.error_version),
        ('a version is neither the old one nor this snapshot',
            new.history_version not in (old.history_version, new.snapshot_version)
            or new.queue_version not in (old.queue_version, new.snapshot_version)
            or new.retry_version not in (old.retry_version, new.snapshot_version)
            or new.error_version not in (old.error_version, new.snapshot_version)),
        ('message ids fall', new.next_message_id < old.next_message_id),
        ('the fence does not follow', new.fence not in (old.fence, old.fence + 1)),
        ('a lease changes hands under one fence',
            new.fence = old.fence and new.session_id is distinct from old.session_id),
        ('a lease begins twice under one fence', new.fence = old.fence and new.leased and not old.leased),
        ('a write does not follow the one before',
            new.fence = old.fence
            and coalesce(new_write, 0) not in (coalesce(old_write, 0), coalesce(old_write, 0) + 1)),
        ('a new lease begins with writes', new.fence > old.fence and new_write is not null)
    ) as f (what, is_fault)
    where f.is_fault;
    return null;
end $$;
create trigger soak_chat_updated after update on chats
    for each row execute function soak_chat_updated();

create function soak_message_updated() returns trigger language plpgsql as $$
begin
    insert into soak_faults
    select format('message %s of chat %s: %s', new.id, new.chat_id, f.what)
    from (values
        ('what it says changes',
            (new.id, new.role, new.visibility, new.content_version, new.content, new.created_by, new.model,
             new.requested_model, new.usage, new.runtime_ms, new.interrupted, new.queued_message_id,
             new.covers_through, new.content_bytes, new.create_time, new.internal)
            is distinct from
            (old.id, old.role, old.visibility, old.content_version, old.content, old.created_by, old.model,
             old.requested_model, old.usage, old.runtime_ms, old.interrupted, old.queued_message_id,
             old.covers_through, old.content_bytes, old.create_time, old.internal)),
        ('it comes back', old.deleted),
        ('it is touched, and neither deleted nor of a boundary',
            not new.deleted and new.covers_through is null),
        ('its revision falls', new.revision <= old.revision)
    ) as f (what, is_fault)
    where f.is_fault;
    return null;
end $$;
create trigger soak_message_updated after update on messages
    for each row execute function soak_message_updated();

create function soak_queue_updated() returns trigger language plpgsql as $$
begin
    insert into soak_faults
    select format('queued message %s of chat %s changes when it is gone', new.queued_message_id, new.chat_id)
    where old.removed;
    return null;
end $$;
create trigger soak_queue_updated after update on queued_messages
    for each row execute function soak_queue_updated();

create function soak_kept() returns trigger language plpgsql as $$
begin
    insert into soak_faults
    values (format('a row of %s is changed or deleted that must stay', tg_table_name));
    return null;
end $$;
create trigger soak_kept after delete on chats for each row execute function soak_kept();
create trigger soak_kept after delete on messages for each row execute function soak_kept();
create trigger soak_kept after delete on queued_messages for each row execute function soak_kept();
create trigger soak_kept after delete on calls for each row execute function soak_kept();
create trigger soak_kept after update or delete on requests for each row execute function soak_kept();
create trigger soak_kept after update or delete on model_calls for each row execute function soak_kept();
";

/// Writes down from now on what breaks a rule.
pub(crate) async fn begin(database: &Database) {
    let mut connection = database.connection().await;
    connection.execute(TRIGGERS).await.expect("the triggers are right");
}

/// What broke a rule.
pub(crate) async fn end(database: &Database) -> Vec<String> {
    let mut connection = database.connection().await;
    let faults = sqlx::query_scalar("select distinct what from soak_faults order by what limit 100");
    faults.fetch_all(&mut connection).await.expect("the faults can be read")
}
