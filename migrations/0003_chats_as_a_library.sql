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
-- No check ties it to `archived`: the release before writes that one alone.

-- Set when retention has erased the chat. The row stays for the accounts; nobody reads it.
alter table chats add column delete_time timestamptz;
alter table chats add constraint chats_deleted_is_archived check (delete_time is null or archived);
create index chats_archived on chats (coalesce(archive_time, update_time))
    where archived and delete_time is null;

drop index chats_owner;
create index chats_owner on chats (owner_id, archived, update_time desc, chat_id desc)
    where parent_chat_id is null and delete_time is null;
create index chats_busy on chats (owner_id, update_time desc, chat_id desc)
    where state <> 'waiting' and parent_chat_id is null and delete_time is null;
create index chats_workspace on chats (workspace_id, update_time desc, chat_id desc)
    where workspace_id is not null and parent_chat_id is null and not archived;
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
create index chat_metadata_labels on chat_metadata using gin (labels jsonb_path_ops);

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
select nextval('search_buckets');
alter table messages add column search tsvector;
create index messages_search on messages using gin (search) where search is not null;
-- What a queued message is found by once it enters the history.
alter table queued_messages add column search tsvector;
alter table chat_metadata add column search tsvector;
create index chat_metadata_search on chat_metadata using gin (search) where search is not null;

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
    constraint files_pkey primary key (file_id),
    constraint files_once unique (owner_id, sha256, name),
    constraint files_content_fkey foreign key (owner_id, sha256) references file_contents,
    constraint files_name_length check (char_length(name) between 1 and 255),
    constraint files_size_not_negative check (size_bytes >= 0)
);

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
