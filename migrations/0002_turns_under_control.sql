-- Queue, steering, client tools, editing, forks, compaction, titles, prompts.

-- A model that is not enabled is unusable: a queued message that names it falls back to
-- the default one.
alter table models add column enabled boolean not null default true;
-- None: 70, or 30 where the context is large.
alter table models alter column compaction_threshold_percent drop default;
alter table models alter column compaction_threshold_percent drop not null;
update models set compaction_threshold_percent = null;
alter table models drop constraint models_limits_positive;
alter table models add constraint models_limits_positive check (
    context_tokens_max > 0
    and output_tokens_max > 0
    and first_token_timeout_ms > 0
    and silence_timeout_ms > 0
);
alter table models add constraint models_compaction_threshold_range check (
    compaction_threshold_percent between 0 and 100
);

-- `client_tools` keeps the names, which every decision reads; the definitions are large,
-- read for a turn only and written only when they change.
alter table chats add column client_tool_definitions jsonb not null default '[]';
-- Version of the chat that the write of the definitions made: names alone do not tell
-- whether they have changed.
alter table chats add column client_tools_version bigint not null default 0;
alter table chats add column action_timeout_ms bigint not null default 300000;
alter table chats add constraint chats_action_timeout_range check (
    action_timeout_ms between 1000 and 86400000
);
-- The last message that the newest live boundary covers.
alter table chats add column covers_through bigint;
alter table chats add column compact_requested boolean not null default false;
alter table chats add constraint chats_compaction_is_running check (
    not compact_requested or state in ('running', 'interrupting')
);
alter table chats add column last_turn_summary text not null default '';

-- Set on the rows of a boundary. They live, die and are copied by it, never by their id.
alter table messages add column covers_through bigint;
-- What a queued message asked for when the default model took its place.
alter table messages add column requested_model text;
create index messages_boundaries on messages (chat_id, covers_through)
    where covers_through is not null and not deleted;
-- Instructions, which no boundary covers: they are found among what one covers.
create index messages_system on messages (chat_id, id) where role = 'system' and not deleted;
-- What users wrote. The query's predicate is the same, word for word.
create index messages_prompts on messages (chat_id, id desc)
    where role = 'user' and not deleted and visibility in ('user', 'both');

-- Settings.

-- What every new chat begins with.
create table deployment_prompts (
    organization_id uuid not null,
    version bigint not null,
    text text not null,
    default_enabled boolean not null,
    updated_by uuid not null,
    update_time timestamptz not null default now(),
    constraint deployment_prompts_pkey primary key (organization_id),
    constraint deployment_prompts_organization_fkey foreign key (organization_id) references organizations,
    constraint deployment_prompts_updated_by_fkey foreign key (updated_by) references users,
    constraint deployment_prompts_version_positive check (version >= 1),
    constraint deployment_prompts_text_length check (octet_length(text) <= 32768)
);

create table user_instructions (
    user_id uuid not null,
    version bigint not null,
    text text not null,
    update_time timestamptz not null default now(),
    constraint user_instructions_pkey primary key (user_id),
    constraint user_instructions_user_fkey foreign key (user_id) references users,
    constraint user_instructions_version_positive check (version >= 1),
    constraint user_instructions_text_length check (octet_length(text) <= 32768)
);

-- One whose model is gone or not enabled has no effect.
create table compaction_thresholds (
    user_id uuid not null,
    organization_id uuid not null,
    model text not null,
    percent integer not null,
    update_time timestamptz not null default now(),
    constraint compaction_thresholds_pkey primary key (user_id, organization_id, model),
    constraint compaction_thresholds_user_fkey foreign key (user_id) references users,
    constraint compaction_thresholds_percent_range check (percent between 0 and 100)
);

-- Work beside the turns. At most one of a kind for a chat: a new request begins it anew.
create table jobs (
    job_id uuid not null,
    chat_id uuid not null,
    kind text not null,
    -- The title is written only where the chat's metadata still have this version.
    metadata_version bigint not null,
    -- Counts all leases of the job, whatever request they were for, and names each of them.
    attempt integer not null default 0,
    -- Counts those since it was last asked for: only so many are given.
    tries integer not null default 0,
    session_id uuid,
    -- When the job is to be leased: at once, or when its lease has run out.
    lease_time timestamptz not null default now(),
    -- Who may still work at what a new request has replaced, and until when: its answer
    -- means nothing any more, and its session has less room meanwhile.
    replaced_session_id uuid,
    replaced_lease_time timestamptz,
    create_time timestamptz not null default now(),
    constraint jobs_pkey primary key (job_id),
    constraint jobs_one_of_a_kind unique (chat_id, kind),
    constraint jobs_chat_fkey foreign key (chat_id) references chats,
    constraint jobs_kind_known check (kind in ('title')),
    constraint jobs_tries_are_attempts check (tries between 0 and attempt),
    constraint jobs_replaced_whole check ((replaced_session_id is null) = (replaced_lease_time is null))
);
create index jobs_due on jobs (lease_time);
