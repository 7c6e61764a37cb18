-- Many replicas: who they are, and where each agent is attached.

-- One row a replica, written at its start and renewed while it runs. Those that are not renewed are deleted by
-- whichever replica sees them.
create table replicas (
    replica_id uuid constraint replicas_pkey primary key,
    -- Where other replicas reach it; null: it takes no peers.
    address text,
    -- Proves to the other side that who dials, and who answers, reads this database.
    secret bytea not null,
    start_time timestamptz not null default now(),
    heartbeat_time timestamptz not null default now(),
    constraint replicas_secret_length check (octet_length(secret) = 32),
    constraint replicas_address_length check (octet_length(address) between 1 and 2048)
);

-- The replica at which the workspace's agent is attached, and which of its attachments that is: they are
-- numbered across replicas, and the highest is in its place. Null: nowhere, or at a replica of the release
-- before.
alter table workspaces add column replica_id uuid;
alter table workspaces add column attachment_no bigint not null default 0;
