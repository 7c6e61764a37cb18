//! What must hold of every single write: triggers of the test's own database write down
//! each that breaks a rule, and beside it what rows do not tell any more when everything is
//! at rest.

use chatplane_tests::Database;
use sqlx::Executor as _;

/// Versions grow, leases follow each other, and what is stored stays. Each rule begins with
/// the number of its invariant.
const TRIGGERS: &str = r"
create table soak_faults (what text not null);
create table soak_events (what text not null);

create function soak_chat_updated() returns trigger language plpgsql as $$
declare
    old_write bigint := (old.last_write ->> 'write_no')::bigint;
    new_write bigint := (new.last_write ->> 'write_no')::bigint;
begin
    insert into soak_faults
    select format('chat %s at snapshot %s: %s', new.chat_id, new.snapshot_version, f.what)
    from (values
        ('2: snapshot does not follow the one before', new.snapshot_version <> old.snapshot_version + 1),
        ('2: a version falls', new.history_version < old.history_version
            or new.queue_version < old.queue_version
            or new.retry_version < old.retry_version
            or new.error_version < old.error_version),
        ('2: a version is neither the old one nor this snapshot',
            new.history_version not in (old.history_version, new.snapshot_version)
            or new.queue_version not in (old.queue_version, new.snapshot_version)
            or new.retry_version not in (old.retry_version, new.snapshot_version)
            or new.error_version not in (old.error_version, new.snapshot_version)),
        ('2: message ids fall', new.next_message_id < old.next_message_id),
        ('6: the fence does not follow', new.fence not in (old.fence, old.fence + 1)),
        ('6: a lease changes hands under one fence',
            new.fence = old.fence and new.session_id is distinct from old.session_id),
        ('6: a lease begins twice under one fence', new.fence = old.fence and new.leased and not old.leased),
        ('6: a write does not follow the one before',
            new.fence = old.fence
            and coalesce(new_write, 0) not in (coalesce(old_write, 0), coalesce(old_write, 0) + 1)),
        ('6: a new lease begins with writes', new.fence > old.fence and new_write is not null),
        ('6: a holder writes without a lease',
            new.fence = old.fence and new_write is distinct from old_write and not old.leased)
    ) as f (what, is_fault)
    where f.is_fault;

    insert into soak_events
    select e.what
    from (values
        ('a turn is stopped while a worker runs it',
            old.leased and old.state = 'running' and new.state = 'interrupting'),
        -- Its holder has not written: it has died.
        ('a lease is taken away',
            old.leased and not new.leased and new.last_write is not distinct from old.last_write)
    ) as e (what, is_it)
    where e.is_it;
    return null;
end $$;
create trigger soak_chat_updated after update on chats
    for each row execute function soak_chat_updated();

-- Every version of every row of a history.
create table soak_revisions (chat_id uuid not null, id bigint not null, revision bigint not null, deleted boolean not null);
create index on soak_revisions (chat_id, id, revision);
create function soak_message_written() returns trigger language plpgsql as $$
begin
    insert into soak_revisions values (new.chat_id, new.id, new.revision, new.deleted);
    return null;
end $$;
create trigger soak_message_written after insert or update on messages
    for each row execute function soak_message_written();

-- When each row came into its history.
create view soak_inserted as
select r.chat_id, r.id, min(r.revision) as revision
from soak_revisions r
group by r.chat_id, r.id;

create function soak_message_updated() returns trigger language plpgsql as $$
begin
    insert into soak_faults
    select format('message %s of chat %s: %s', new.id, new.chat_id, f.what)
    from (values
        ('4: what it says changes',
            (new.id, new.role, new.visibility, new.content_version, new.content, new.created_by, new.model,
             new.requested_model, new.usage, new.runtime_ms, new.interrupted, new.queued_message_id,
             new.covers_through, new.content_bytes, new.create_time, new.internal)
            is distinct from
            (old.id, old.role, old.visibility, old.content_version, old.content, old.created_by, old.model,
             old.requested_model, old.usage, old.runtime_ms, old.interrupted, old.queued_message_id,
             old.covers_through, old.content_bytes, old.create_time, old.internal)),
        ('4: it comes back', old.deleted),
        ('4: it is touched, and neither deleted nor of a boundary',
            not new.deleted and new.covers_through is null),
        ('2: its revision falls', new.revision <= old.revision)
    ) as f (what, is_fault)
    where f.is_fault;
    return null;
end $$;
create trigger soak_message_updated after update on messages
    for each row execute function soak_message_updated();

create function soak_queue_updated() returns trigger language plpgsql as $$
begin
    insert into soak_faults
    select format('5: queued message %s of chat %s changes when it is gone', new.queued_message_id, new.chat_id)
    where old.removed;
    return null;
end $$;
create trigger soak_queue_updated after update on queued_messages
    for each row execute function soak_queue_updated();

create function soak_kept() returns trigger language plpgsql as $$
begin
    insert into soak_faults
    values (format('4: a row of %s is changed or deleted that must stay', tg_table_name));
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
