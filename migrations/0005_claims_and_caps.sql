-- What claims and caps look at. A file of its own, so that workspaces are not locked while these are built.

-- Chats that wait, by owner: claims take one of each owner in turn.
create index chats_runnable_owner on chats (owner_id, runnable_since, chat_id) where runnable_since is not null;
-- Chats that run, by owner and organization: what caps count.
create index chats_leased_owner on chats (owner_id) where leased;
create index chats_leased_organization on chats (organization_id) where leased;
