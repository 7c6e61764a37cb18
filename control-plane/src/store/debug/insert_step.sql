-- Adds a step to its run, which may be new.
-- $1 chat, $2 run, $3 its trigger, $4 its history tip, $5 when the step began, $6 when it
-- ended; $7 fence, $8 model call; the step's own fields from $9 on.
with run as (
    insert into debug_runs as r (
        chat_id, run_id, trigger_message_id, history_tip_message_id, start_time, end_time
    )
    values ($1, $2, $3, $4, $5, $6)
    on conflict (chat_id, run_id) do update
    set start_time = least(r.start_time, excluded.start_time),
        end_time = greatest(r.end_time, excluded.end_time)
    returning r.chat_id, r.run_id
)
insert into debug_steps (
    chat_id, run_id, step, fence, model_call, assistant_message_id, history_tip_message_id, model,
    request, response, truncated, usage, attempts, error, start_time, first_token_ms, duration_ms
)
select
    run.chat_id,
    run.run_id,
    coalesce(
        (
            select max(s.step)
            from debug_steps s
            where s.chat_id = $1
            and s.run_id = $2
        ),
        0
    ) + 1,
    $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $5, $18, $19
from run
