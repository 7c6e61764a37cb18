-- Organizations, people, workspaces, tokens.

create table organizations (
    organization_id uuid not null,
    name text not null,
    create_time timestamptz not null default now(),
    constraint organizations_pkey primary key (organization_id)
);

-- The one organization until identity arrives.
insert into organizations (organization_id, name)
values ('00000000-0000-7000-8000-000000000001', 'default');

create table users (
    user_id uuid not null,
    organization_id uuid not null,
    name text not null,
    is_owner boolean not null default false,
    create_time timestamptz not null default now(),
    constraint users_pkey primary key (user_id),
    constraint users_organization_fkey foreign key (organization_id) references organizations,
    constraint users_name_key unique (organization_id, name),
    constraint users_name_length check (char_length(name) between 1 and 200)
);

create table workspaces (
    workspace_id uuid not null,
    organization_id uuid not null,
    owner_id uuid not null,
    name text not null,
    -- The tools its agent declared at its last registration.
    tools jsonb not null default '[]',
    -- The journal its agent named at its last registration.
    journal_id uuid,
    create_time timestamptz not null default now(),
    constraint workspaces_pkey primary key (workspace_id),
    constraint workspaces_organization_fkey foreign key (organization_id) references organizations,
    constraint workspaces_owner_fkey foreign key (owner_id) references users,
    constraint workspaces_name_length check (char_length(name) between 1 and 200)
);
create index workspaces_owner on workspaces (owner_id, workspace_id);

create table tokens (
    token_id uuid not null,
    token_sha256 bytea not null,
    kind text not null,
    user_id uuid,
    workspace_id uuid,
    create_time timestamptz not null default now(),
    constraint tokens_pkey primary key (token_id),
    constraint tokens_sha256_key unique (token_sha256),
    constraint tokens_sha256_length check (octet_length(token_sha256) = 32),
    constraint tokens_user_fkey foreign key (user_id) references users,
    constraint tokens_workspace_fkey foreign key (workspace_id) references workspaces,
    constraint tokens_kind_names_its_subject check (
        (kind = 'user' and user_id is not null and workspace_id is null)
        or (kind = 'worker' and user_id is null and workspace_id is null)
        or (kind = 'workspace_agent' and user_id is null and workspace_id is not null)
    )
);

create table models (
    organization_id uuid not null,
    name text not null,
    provider text not null,
    endpoint text not null,
    -- The provider's own name of the model.
    provider_model text not null,
    is_default boolean not null default false,
    context_tokens_max bigint not null,
    output_tokens_max bigint not null,
    -- Share of the context at which a history is summarized.
    compaction_threshold_percent integer not null default 80,
    first_token_timeout_ms bigint not null default 120000,
    silence_timeout_ms bigint not null default 300000,
    update_time timestamptz not null default now(),
    constraint models_pkey primary key (organization_id, name),
    constraint models_organization_fkey foreign key (organization_id) references organizations,
    constraint models_limits_positive check (
        context_tokens_max > 0
        and output_tokens_max > 0
        and first_token_timeout_ms > 0
        and silence_timeout_ms > 0
        and compaction_threshold_percent between 1 and 100
    )
);
create unique index models_default on models (organization_id) where is_default;

-- Workers.

create table sessions (
    session_id uuid not null,
    -- The replica that has the session's stream, and how often it was opened.
    replica_id uuid not null,
    connection bigint not null,
    worker_name text not null,
    slots_total integer not null,
    create_time timestamptz not null default now(),
    expire_time timestamptz not null,
    close_time timestamptz,
    constraint sessions_pkey primary key (session_id),
    constraint sessions_connection_positive check (connection > 0),
    constraint sessions_slots_range check (slots_total between 1 and 1000)
);
create index sessions_open on sessions (expire_time) where close_time is null;

-- Chats. Only `Store::transact` writes this table.

create table chats (
    chat_id uuid not null,
    organization_id uuid not null,
    owner_id uuid not null,
    parent_chat_id uuid,
    root_chat_id uuid not null,
    workspace_id uuid,
    model text not null,
    effort text not null,
    client_tools jsonb not null default '[]',
    system_prompt_id bigint,
    state text not null,
    archived boolean not null default false,
    queue_length integer not null default 0,
    open_call_count integer not null default 0,
    snapshot_version bigint not null,
    history_version bigint not null,
    queue_version bigint not null default 0,
    retry_version bigint not null default 0,
    error_version bigint not null default 0,
    attempt integer not null default 0,
    retry jsonb,
    last_error jsonb,
    -- The last lease, kept after its end so that its replays are answered.
    fence bigint not null default 0,
    session_id uuid,
    leased boolean not null default false,
    last_write jsonb,
    runnable_since timestamptz,
    interrupt_time timestamptz,
    action_deadline timestamptz,
    next_message_id bigint not null,
    answered boolean not null default false,
    history_bytes bigint not null default 0,
    create_time timestamptz not null default now(),
    update_time timestamptz not null default now(),
    constraint chats_pkey primary key (chat_id),
    constraint chats_organization_fkey foreign key (organization_id) references organizations,
    constraint chats_owner_fkey foreign key (owner_id) references users,
    constraint chats_root_has_no_parent check ((parent_chat_id is null) = (root_chat_id = chat_id)),
    constraint chats_state_known check (
        state in ('waiting', 'running', 'interrupting', 'suspended', 'error')
    ),
    constraint chats_effort_known check (effort in ('unspecified', 'low', 'medium', 'high')),
    constraint chats_archived_is_idle check (not archived or state in ('waiting', 'error')),
    constraint chats_leased_is_running check (not leased or state in ('running', 'interrupting')),
    constraint chats_interrupting_is_leased check (state <> 'interrupting' or leased),
    constraint chats_waiting_has_no_queue check (state <> 'waiting' or queue_length = 0),
    constraint chats_idle_has_no_open_calls check (
        state not in ('waiting', 'error') or open_call_count = 0
    ),
    constraint chats_suspended_has_open_calls check (state <> 'suspended' or open_call_count > 0),
    constraint chats_suspended_has_deadline check ((state = 'suspended') = (action_deadline is not null)),
    constraint chats_error_is_named check ((state = 'error') = (last_error is not null)),
    constraint chats_interrupting_has_time check (
        (state = 'interrupting') = (interrupt_time is not null)
    ),
    constraint chats_runnable_has_time check (
        (state = 'running' and not leased) = (runnable_since is not null)
    ),
    constraint chats_lease_is_complete check (
        (fence = 0) = (session_id is null) and (fence > 0 or not leased) and fence >= 0
    ),
    constraint chats_retry_is_leased check (retry is null or (state = 'running' and leased)),
    constraint chats_versions_ordered check (
        snapshot_version >= 1
        and history_version between 1 and snapshot_version
        and queue_version between 0 and snapshot_version
        and retry_version between 0 and snapshot_version
        and error_version between 0 and snapshot_version
    ),
    constraint chats_counts_not_negative check (
        queue_length >= 0 and open_call_count >= 0 and attempt >= 0 and history_bytes >= 0
    )
) with (fillfactor = 70);
create index chats_runnable on chats (runnable_since, chat_id) where runnable_since is not null;
create index chats_leased on chats (session_id) where leased;
create index chats_interrupting on chats (interrupt_time) where interrupt_time is not null;
create index chats_suspended on chats (action_deadline) where action_deadline is not null;
create index chats_owner on chats (owner_id, archived, update_time desc, chat_id desc)
    where parent_chat_id is null;

-- Plain updates with a version of their own: no execution reads them.
create table chat_metadata (
    chat_id uuid not null,
    metadata_version bigint not null default 1,
    title text not null default '',
    labels jsonb not null default '{}',
    constraint chat_metadata_pkey primary key (chat_id),
    constraint chat_metadata_chat_fkey foreign key (chat_id) references chats,
    constraint chat_metadata_version_positive check (metadata_version >= 1),
    constraint chat_metadata_labels_object check (jsonb_typeof(labels) = 'object')
);

-- What one user keeps of a chat.
create table chat_user_metadata (
    chat_id uuid not null,
    user_id uuid not null,
    pin_order integer,
    read_message_id bigint not null default 0,
    constraint chat_user_metadata_pkey primary key (chat_id, user_id),
    constraint chat_user_metadata_chat_fkey foreign key (chat_id) references chats,
    constraint chat_user_metadata_user_fkey foreign key (user_id) references users,
    constraint chat_user_metadata_pin_positive check (pin_order is null or pin_order > 0)
);

create table messages (
    chat_id uuid not null,
    id bigint not null,
    role text not null,
    visibility text not null,
    content_version smallint not null,
    content jsonb not null,
    -- What only workers may see: the providers' own state, by part.
    internal jsonb,
    content_bytes bigint not null,
    created_by uuid,
    model text,
    usage jsonb,
    runtime_ms bigint,
    interrupted boolean not null default false,
    queued_message_id uuid,
    revision bigint not null,
    deleted boolean not null default false,
    create_time timestamptz not null default now(),
    constraint messages_pkey primary key (chat_id, id),
    constraint messages_chat_fkey foreign key (chat_id) references chats,
    constraint messages_id_range check (id between 1 and 9007199254740991),
    constraint messages_role_known check (role in ('system', 'user', 'assistant', 'tool')),
    constraint messages_visibility_known check (visibility in ('user', 'model', 'both')),
    constraint messages_user_has_author check ((role = 'user') = (created_by is not null)),
    constraint messages_answer_has_usage check ((role = 'assistant') = (usage is not null)),
    constraint messages_only_answers_interrupted check (not interrupted or role = 'assistant')
);
create index messages_revision on messages (chat_id, revision, id);
create unique index messages_queued_once on messages (chat_id, queued_message_id)
    where queued_message_id is not null;

create table queued_messages (
    chat_id uuid not null,
    queued_message_id uuid not null,
    position bigint not null,
    steering boolean not null,
    created_by uuid not null,
    model text,
    effort text,
    content_version smallint not null,
    content jsonb not null,
    content_bytes bigint not null,
    preview_text text not null,
    -- Set when the message entered the history or was deleted.
    removed boolean not null default false,
    revision bigint not null,
    create_time timestamptz not null default now(),
    constraint queued_messages_pkey primary key (chat_id, queued_message_id),
    constraint queued_messages_chat_fkey foreign key (chat_id) references chats,
    constraint queued_messages_preview_length check (char_length(preview_text) <= 200)
);
create index queued_messages_waiting on queued_messages (chat_id, position) where not removed;
create index queued_messages_revision on queued_messages (chat_id, revision, queued_message_id);

create table calls (
    chat_id uuid not null,
    message_id bigint not null,
    call_index integer not null,
    tool_name text not null,
    kind text not null,
    -- Where the call goes, and the journal registered there when it was committed.
    workspace_id uuid,
    journal_id uuid,
    settled boolean not null default false,
    constraint calls_pkey primary key (chat_id, message_id, call_index),
    constraint calls_message_fkey foreign key (chat_id, message_id) references messages,
    constraint calls_kind_known check (kind in ('worker', 'client', 'approval', 'child')),
    constraint calls_index_not_negative check (call_index >= 0)
);
create index calls_open on calls (chat_id) where not settled;

-- Requests that were accepted, with the reply a repeat gets.
create table requests (
    actor_id uuid not null,
    request_id uuid not null,
    method text not null,
    body_sha256 bytea not null,
    chat_id uuid not null,
    result jsonb not null,
    create_time timestamptz not null default now(),
    constraint requests_pkey primary key (actor_id, request_id),
    constraint requests_body_sha256_length check (octet_length(body_sha256) = 32)
);

-- Every model call that was paid for, whatever became of its answer.
create table model_calls (
    chat_id uuid not null,
    fence bigint not null,
    model_call bigint not null,
    model text not null,
    input_tokens bigint not null,
    output_tokens bigint not null,
    cache_read_tokens bigint not null,
    cache_write_tokens bigint not null,
    reasoning_tokens bigint not null,
    create_time timestamptz not null default now(),
    constraint model_calls_pkey primary key (chat_id, fence, model_call),
    constraint model_calls_chat_fkey foreign key (chat_id) references chats,
    constraint model_calls_tokens_not_negative check (
        input_tokens >= 0
        and output_tokens >= 0
        and cache_read_tokens >= 0
        and cache_write_tokens >= 0
        and reasoning_tokens >= 0
    )
);
