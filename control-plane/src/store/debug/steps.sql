-- A page of a run's steps.
-- $1 chat, $2 run, $3 the step after which it begins, $4 how many, $5 how many bytes.
with page as (
    select
        s.*,
        octet_length(s.request) + octet_length(s.response) as bytes,
        sum(octet_length(s.request) + octet_length(s.response)) over (order by s.step) as total_bytes,
        count(*) over () as found
    from (
        select d.*
        from debug_steps d
        where d.chat_id = $1
        and d.run_id = $2
        and d.step > $3
        order by d.step
        limit $4
    ) s
)
-- The first one is part of its page, however large it is.
select
    p.step,
    p.assistant_message_id,
    p.history_tip_message_id,
    p.model,
    p.request,
    p.response,
    p.truncated,
    p.usage as "usage: Json<Usage>",
    p.attempts as "attempts: Json<Vec<DebugAttempt>>",
    p.error as "error: Json<ChatError>",
    p.start_time,
    p.first_token_ms,
    p.duration_ms,
    p.found as "found!"
from page p
where p.total_bytes <= $5
or p.total_bytes = p.bytes
order by p.step
