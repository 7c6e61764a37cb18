-- Takes the answer of a job from whoever has it.
-- $1 job, $2 session, $3 attempt; $4 milliseconds until it is tried again (null: it is
-- over), $5 the title (null: none), $6 to $13 what the model call cost ($8 null: nothing);
-- $14 the chat, $15 what its title is found by.
-- The metadata first, as whoever asks for a title locks them: one waits for the other, and
-- then finds what it has left.
with described as materialized (
    select d.chat_id
    from chat_metadata d
    where d.chat_id = $14
    for update
),
held as materialized (
    select j.job_id, j.chat_id, j.metadata_version
    from described d
    join jobs j on j.chat_id = d.chat_id
    where j.job_id = $1
    and j.session_id = $2
    and j.attempt = $3
    for update of j
),
put_off as (
    update jobs j
    set session_id = null,
        lease_time = now() + $4::bigint * interval '1 millisecond'
    from held h
    where j.job_id = h.job_id
    and $4::bigint is not null
),
ended as (
    delete from jobs j
    using held h
    where j.job_id = h.job_id
    and $4::bigint is null
),
-- The answer of one that was replaced makes room.
roomier as (
    update jobs j
    set replaced_session_id = null,
        replaced_lease_time = null
    from described d
    where j.chat_id = d.chat_id
    and j.job_id = $1
    and j.replaced_session_id = $2
    and j.attempt >= $3
    and not exists (select from held)
),
titled as (
    update chat_metadata d
    set title = $5,
        search = $15::text::tsvector,
        metadata_version = d.metadata_version + 1
    from held h
    where d.chat_id = h.chat_id
    and d.metadata_version = h.metadata_version
    and d.title <> $5::text
    returning d.chat_id
),
-- Who keeps the chat hears of it.
told as (
    update chat_user_metadata u
    set metadata_xid = pg_current_xact_id(),
        change_xid = pg_current_xact_id()
    from titled t
    where u.chat_id = t.chat_id
),
-- It was paid for, whatever has become of the job.
accounted as (
    insert into model_calls (
        chat_id, fence, model_call, model, input_tokens, output_tokens,
        cache_read_tokens, cache_write_tokens, reasoning_tokens
    )
    select c.chat_id, $6, $7, $8::text, $9, $10, $11, $12, $13
    from chats c
    where c.chat_id = $14
    and $8 is not null
    and exists (
        select
        from sessions s
        where s.session_id = $2
    )
    -- A repeat of an answer that was taken names the same call.
    on conflict (chat_id, fence, model_call) do nothing
)
select exists (select from titled) as "is_titled!"
from held h
