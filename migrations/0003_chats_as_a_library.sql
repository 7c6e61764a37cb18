-- Lists, search, labels, pins, unread, watching everything, files, keeping and forgetting.

-- What changed since a moment is found by transaction: `pg_current_xact_id()` at the
-- write. What is below a snapshot's xmin is complete, whatever clocks say. Each column
-- names the last transaction that changed its aspect; `change_xid` the last of all.
alter table chats add column change_xid xid8 not null default pg_current_xact_id();
alter table chats add column create_xid xid8 not null default pg_current_xact_id();
alter table chats add column state_xid xid8 not null default pg_current_xact_id();
alter table chats add column archive_xid xid8 not null default pg_current_xact_id();
alter table chats add column summary_xid xid8 not null default pg_current_xact_id();
alter table chats add column action_xid xid8 not null default pg_current_xact_id();
create index chats_changes on chats (owner_id, change_xid, chat_id);

-- The newest live answer that users see: rows of boundaries are none.
alter table chats add column last_answer_id bigint;
update chats c
set last_answer_id = (
    select max(m.id)
    from messages m
    where m.chat_id = c.chat_id
    and m.role = 'assistant'
    and m.covers_through is null
    and not m.deleted
)
where answered;

-- Whether any file was ever linked: most chats have none, and need not be asked.
alter table chats add column has_files boolean not null default false;

alter table chats add column archive_time timestamptz;
update chats set archive_time = update_time where archived;
-- No check ties it to `archived`: the release before writes that one alone, and a trigger
-- this one after it.

-- Set when retention has erased the chat. The row stays for the accounts; nobody reads it.
alter table chats add column delete_time timestamptz;
alter table chats add constraint chats_deleted_is_archived check (delete_time is null or archived);
create index chats_archived on chats (coalesce(archive_time, update_time))
    where archived and delete_time is null;
-- Of a deleted chat with more messages than one statement erases: there is some text left.
alter table chats add column erasing boolean not null default false;
alter table chats add constraint chats_erasing_is_deleted check (not erasing or delete_time is not null);
create index chats_erasing on chats (chat_id) where erasing;

drop index chats_owner;
-- Creation and model stand in it so that conditions on them need no row.
create index chats_owner on chats (owner_id, archived, update_time desc, chat_id desc, create_time, model)
    where parent_chat_id is null and delete_time is null;
create index chats_busy on chats (owner_id, archived, update_time desc, chat_id desc)
    where state <> 'waiting' and parent_chat_id is null and delete_time is null;
create index chats_workspace on chats (workspace_id, archived, update_time desc, chat_id desc)
    where workspace_id is not null and parent_chat_id is null and delete_time is null;
create index chats_children on chats (root_chat_id, chat_id) where parent_chat_id is not null;
-- What auto-archiving looks at.
create index chats_inactive on chats (update_time)
    where not archived and parent_chat_id is null and state in ('waiting', 'error');

-- Title and labels, by owner.
alter table chat_metadata add column owner_id uuid;
update chat_metadata d set owner_id = c.owner_id from chats c where c.chat_id = d.chat_id;
create function chat_metadata_set_owner() returns trigger language plpgsql as $$
begin
    select c.owner_id into new.owner_id from chats c where c.chat_id = new.chat_id;
    return new;
end
$$;
-- For rows that the release before inserts.
create trigger chat_metadata_owner before insert on chat_metadata
    for each row when (new.owner_id is null) execute function chat_metadata_set_owner();
create index chat_metadata_owner on chat_metadata (owner_id, chat_id);
-- The labels of an owner's chat as words that no other owner's chats have. One value at a time
-- is looked for, so what `analyze` would find out about them is of no use.
create function chat_label_terms(owner_id uuid, labels jsonb) returns text[]
language sql immutable strict parallel safe
return (
    select array_agg(right(owner_id::text, 12) || ' ' || l.key || '=' || l.value)
    from jsonb_each_text(labels) l
);
create index chat_metadata_labels on chat_metadata using gin (chat_label_terms(owner_id, labels))
    with (fastupdate = off);
alter index chat_metadata_labels alter column 1 set statistics 0;
-- A title in one case. Where the database may not know the other case of a letter, the letter
-- is left out: this only finds titles that may contain a text.
create function chat_title_fold(title text) returns text
language sql immutable strict parallel safe
return regexp_replace(
    translate(
        lower(title collate "C"),
        'АБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯЁᲀᲁᲂᲃᲄᲅᲆſı' || chr(8490),
        'абвгдежзийклмнопрстуфхцчшщъыьэюяёвдосттъsik'
    ),
    '[\u0080-\u042f\u0450\u0452-\u058f\u10a0-\u10ff\u13a0-\u13ff\u1c80-\u1cbf\u1d00-\u2dff'
        || '\ua640-\ua7ff\uab30-\uabbf\ufb00-\uffff\U00010000-\U0010ffff]',
    '_',
    'g'
);
-- All runs of three characters of an owner's title, and the shorter ones at its end.
create function chat_title_grams(owner_id uuid, title text) returns tsvector
language sql immutable strict parallel safe
return (
    select array_to_tsvector(coalesce(array_agg(t.owner || substr(t.folded, place, 3)), '{}'))
    from (select right(owner_id::text, 12) as owner, chat_title_fold(title) as folded offset 0) t
    cross join generate_series(1, length(t.folded)) place
);
-- The runs of a title that contains this text.
create function chat_title_query(owner_id uuid, part text) returns tsquery
language sql immutable strict parallel safe
return (
    select string_agg(
        format(
            '''%s%s''%s',
            t.owner,
            regexp_replace(substr(t.folded, place, 3), '([''\\])', '\1\1', 'g'),
            case when length(t.folded) < 3 then ':*' end
        ),
        '&'
    )::tsquery
    from (select right(owner_id::text, 12) as owner, chat_title_fold(part) as folded offset 0) t
    cross join generate_series(1, greatest(length(t.folded) - 2, 1)) place
);
create index chat_metadata_title on chat_metadata using gin (chat_title_grams(owner_id, title))
    with (fastupdate = off);
alter index chat_metadata_title alter column 1 set statistics 0;

-- One row a chat for its owner, from its creation on.
insert into chat_user_metadata (chat_id, user_id)
select c.chat_id, c.owner_id
from chats c
on conflict (chat_id, user_id) do nothing;
alter table chat_user_metadata add column has_unread boolean not null default false;
-- Of everything outside the execution that this user is to hear of.
alter table chat_user_metadata add column change_xid xid8 not null default pg_current_xact_id();
alter table chat_user_metadata add column metadata_xid xid8 not null default pg_current_xact_id();
alter table chat_user_metadata add column read_xid xid8 not null default pg_current_xact_id();
alter table chat_user_metadata add column pin_xid xid8 not null default pg_current_xact_id();
create index chat_user_metadata_changes on chat_user_metadata (user_id, change_xid, chat_id);
create index chat_user_metadata_pins on chat_user_metadata (user_id, pin_order, chat_id)
    where pin_order is not null;
create index chat_user_metadata_unread on chat_user_metadata (user_id, chat_id) where has_unread;
-- Chats that exist have been read.
update chat_user_metadata u
set read_message_id = coalesce(c.last_answer_id, 0)
from chats c
where c.chat_id = u.chat_id;

-- Search. A lexeme begins with a hash of owner and bucket: a search reads only what is
-- its owner's, and goes from bucket to bucket, newest first, until it has enough. A bucket
-- is a stretch of time in which some thousands of texts were stored.
create sequence search_buckets;
alter table messages add column search tsvector;
create index messages_search on messages using gin (search) where search is not null;
-- A message as it is read whole, which is without what it is found by.
create view message_rows as
select
    chat_id, id, role, visibility, content_version, content, internal, content_bytes, created_by, model, usage,
    runtime_ms, interrupted, queued_message_id, revision, deleted, create_time, covers_through, requested_model
from messages;
-- What a queued message is found by once it enters the history.
alter table queued_messages add column search tsvector;
alter table chat_metadata add column search tsvector;
create index chat_metadata_search on chat_metadata using gin (search) where search is not null;
-- Chats with texts that are not found yet: those that exist now, and what the release before
-- writes as long as a replica of it runs. A task gives them their words, and removes the row.
create table search_backlog (
    chat_id uuid not null,
    -- Under which its texts are filed; none for what is new.
    bucket bigint,
    -- What is up to here has its words.
    after_message_id bigint not null default 0,
    -- Counts what has come to it: only who has seen it all removes the row.
    marks bigint not null default 1,
    due_time timestamptz not null default now(),
    constraint search_backlog_pkey primary key (chat_id),
    constraint search_backlog_chat_fkey foreign key (chat_id) references chats
);
-- By age, with so many texts in a bucket as replicas file under one.
insert into search_backlog (chat_id, bucket)
select c.chat_id, 1 + div(sum(c.next_message_id) over (order by c.update_time, c.chat_id), 4096)::bigint
from chats c;
select setval('search_buckets', coalesce(max(b.bucket), 0) + 1) from search_backlog b;

-- Files. Content is kept once an owner.
create table file_contents (
    owner_id uuid not null,
    sha256 bytea not null,
    content bytea not null,
    constraint file_contents_pkey primary key (owner_id, sha256),
    constraint file_contents_owner_fkey foreign key (owner_id) references users,
    constraint file_contents_sha256_length check (octet_length(sha256) = 32)
);
-- Not compressed, so that a range is read without the rest.
alter table file_contents alter column content set storage external;

create table files (
    file_id uuid not null,
    owner_id uuid not null,
    name text not null,
    media_type text not null,
    size_bytes bigint not null,
    sha256 bytea not null,
    create_time timestamptz not null default now(),
    -- When it was last uploaded or unlinked from a chat; null once it was found to be linked
    -- since. What no chat is linked to goes some time after it.
    unlink_time timestamptz default now(),
    constraint files_pkey primary key (file_id),
    constraint files_once unique (owner_id, sha256, name),
    constraint files_content_fkey foreign key (owner_id, sha256) references file_contents,
    constraint files_name_length check (char_length(name) between 1 and 255),
    constraint files_size_not_negative check (size_bytes >= 0)
);
create index files_unlinked on files (unlink_time) where unlink_time is not null;

create table chat_files (
    chat_id uuid not null,
    file_id uuid not null,
    create_time timestamptz not null default now(),
    constraint chat_files_pkey primary key (chat_id, file_id),
    constraint chat_files_chat_fkey foreign key (chat_id) references chats,
    constraint chat_files_file_fkey foreign key (file_id) references files
);
create index chat_files_file on chat_files (file_id);

-- Keeping and forgetting.
create table retentions (
    organization_id uuid not null,
    version bigint not null,
    auto_archive_days integer not null,
    delete_archived_days integer not null,
    delete_debug_days integer not null,
    updated_by uuid not null,
    update_time timestamptz not null default now(),
    constraint retentions_pkey primary key (organization_id),
    constraint retentions_organization_fkey foreign key (organization_id) references organizations,
    constraint retentions_updated_by_fkey foreign key (updated_by) references users,
    constraint retentions_version_positive check (version >= 1),
    constraint retentions_days_range check (
        auto_archive_days between 0 and 36500
        and delete_archived_days between 0 and 36500
        and delete_debug_days between 0 and 36500
    )
);

-- Recording of turns.
create table debug_policies (
    organization_id uuid not null,
    policy text not null,
    updated_by uuid not null,
    update_time timestamptz not null default now(),
    constraint debug_policies_pkey primary key (organization_id),
    constraint debug_policies_organization_fkey foreign key (organization_id) references organizations,
    constraint debug_policies_updated_by_fkey foreign key (updated_by) references users,
    constraint debug_policies_known check (policy in ('forbidden', 'allowed', 'forced'))
);

create table debug_choices (
    user_id uuid not null,
    enabled boolean not null,
    update_time timestamptz not null default now(),
    constraint debug_choices_pkey primary key (user_id),
    constraint debug_choices_user_fkey foreign key (user_id) references users
);

create table debug_runs (
    chat_id uuid not null,
    run_id uuid not null,
    trigger_message_id bigint,
    history_tip_message_id bigint,
    start_time timestamptz not null,
    end_time timestamptz not null,
    constraint debug_runs_pkey primary key (chat_id, run_id),
    constraint debug_runs_chat_fkey foreign key (chat_id) references chats
);
create unique index debug_runs_trigger on debug_runs (chat_id, trigger_message_id)
    where trigger_message_id is not null;
create index debug_runs_end on debug_runs (end_time);

create table debug_steps (
    chat_id uuid not null,
    run_id uuid not null,
    step integer not null,
    fence bigint not null,
    model_call bigint not null,
    assistant_message_id bigint,
    history_tip_message_id bigint,
    model text not null,
    request text not null,
    response text not null,
    truncated boolean not null,
    usage jsonb not null,
    attempts jsonb not null,
    error jsonb,
    start_time timestamptz not null,
    first_token_ms bigint not null,
    duration_ms bigint not null,
    constraint debug_steps_pkey primary key (chat_id, run_id, step),
    constraint debug_steps_once unique (chat_id, fence, model_call),
    constraint debug_steps_run_fkey foreign key (chat_id, run_id) references debug_runs on delete cascade,
    constraint debug_steps_step_positive check (step >= 1)
);

-- Erasing a chat takes the replies kept for repeats, too.
create index requests_chat on requests (chat_id);

-- Replicas of the release before run beside this one for a while, and know nothing of the
-- columns above. What they leave out is added here, after their statements, since it depends
-- on all that they wrote. None of these triggers fires for this release: the conditions say
-- which columns tell the two apart, and cost a comparison.
create function search_backlog_mark(chat uuid, written_after bigint) returns void language sql as $$
    insert into search_backlog as b (chat_id, after_message_id)
    values (chat, written_after)
    on conflict (chat_id) do update
    set after_message_id = least(b.after_message_id, excluded.after_message_id),
        marks = b.marks + 1,
        due_time = excluded.due_time
$$;
create function chats_last_answer(chat uuid) returns bigint language sql stable as $$
    select m.id
    from messages m
    where m.chat_id = chat
    and m.role = 'assistant'
    and m.covers_through is null
    and not m.deleted
    order by m.id desc
    limit 1
$$;

-- This release names the transaction that creates a chat.
alter table chats alter column create_xid set default '0';
create function chats_created_by_release_before() returns trigger language plpgsql as $$
declare
    answer bigint := chats_last_answer(new.chat_id);
begin
    update chats c
    set create_xid = pg_current_xact_id(),
        last_answer_id = answer
    where c.chat_id = new.chat_id;
    -- Who copies a chat has read it.
    insert into chat_user_metadata (chat_id, user_id, read_message_id)
    values (new.chat_id, new.owner_id, coalesce(answer, 0))
    on conflict (chat_id, user_id) do nothing;
    perform search_backlog_mark(new.chat_id, 0);
    return null;
end
$$;
create trigger chats_created after insert on chats
    for each row when (new.create_xid = '0') execute function chats_created_by_release_before();

-- Each write of this release names its transaction.
create function chats_written_by_release_before() returns trigger language plpgsql as $$
declare
    answer bigint := chats_last_answer(new.chat_id);
    has_other_answer boolean := answer is distinct from new.last_answer_id;
begin
    update chats c
    set change_xid = pg_current_xact_id(),
        state_xid = case when new.state = old.state then c.state_xid else pg_current_xact_id() end,
        archive_xid = case when new.archived = old.archived then c.archive_xid else pg_current_xact_id() end,
        archive_time = case
            when new.archived = old.archived then c.archive_time
            when new.archived then new.update_time
        end,
        summary_xid = case
            when new.last_turn_summary = old.last_turn_summary then c.summary_xid
            else pg_current_xact_id()
        end,
        action_xid = case
            when new.action_deadline is not distinct from old.action_deadline
                and (new.action_deadline is null or new.open_call_count = old.open_call_count)
            then c.action_xid
            else pg_current_xact_id()
        end,
        last_answer_id = answer
    where c.chat_id = new.chat_id;
    -- With an answer the rows are written even where the value stays, as this release does.
    update chat_user_metadata u
    set has_unread = coalesce(answer > u.read_message_id, false),
        read_xid = case
            when u.has_unread = coalesce(answer > u.read_message_id, false) then u.read_xid
            else pg_current_xact_id()
        end,
        pin_order = case when not new.archived then u.pin_order end,
        pin_xid = case
            when new.archived and u.pin_order is not null then pg_current_xact_id()
            else u.pin_xid
        end,
        change_xid = case
            when u.has_unread <> coalesce(answer > u.read_message_id, false)
                or (new.archived and u.pin_order is not null)
            then pg_current_xact_id()
            else u.change_xid
        end
    where u.chat_id = new.chat_id
    and (answer is distinct from new.last_answer_id or new.archived);
    if new.history_version > old.history_version or new.queue_version > old.queue_version then
        -- What is deleted is found no more, and what was edited by its new words.
        update messages m
        set search = null
        where m.chat_id = new.chat_id
        and m.revision = new.snapshot_version
        and m.deleted
        and m.search is not null;
        update queued_messages q
        set search = null
        where q.chat_id = new.chat_id
        and q.revision = new.snapshot_version
        and q.search is not null;
        perform search_backlog_mark(new.chat_id, old.next_message_id - 1);
    end if;
    return null;
end
$$;
create trigger chats_written after update on chats
    for each row when (new.snapshot_version > old.snapshot_version and new.change_xid = old.change_xid)
    execute function chats_written_by_release_before();

-- A title of this release comes with its words, which are others in nearly every case, and
-- its statement tells who keeps the chat.
create function chat_metadata_titled_by_release_before() returns trigger language plpgsql as $$
begin
    update chat_user_metadata u
    set metadata_xid = pg_current_xact_id(),
        change_xid = pg_current_xact_id()
    where u.chat_id = new.chat_id
    and u.metadata_xid <> pg_current_xact_id();
    if found then
        update chat_metadata d
        set search = null
        where d.chat_id = new.chat_id;
        perform search_backlog_mark(new.chat_id, 9223372036854775807);
    end if;
    return null;
end
$$;
create trigger chat_metadata_titled after update on chat_metadata
    for each row when (new.title <> old.title and new.search is not distinct from old.search)
    execute function chat_metadata_titled_by_release_before();
