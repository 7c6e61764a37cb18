-- Runs of a chat, newest first: their ids are of the database's clock.
-- $1 chat, $2 this run alone (null: all), $3 only those before it (null: all), $4 how many.
select
    r.run_id,
    r.trigger_message_id,
    r.history_tip_message_id,
    r.start_time,
    r.end_time,
    s.step_count as "step_count!",
    s.input_tokens as "input_tokens!",
    s.output_tokens as "output_tokens!",
    s.cache_read_tokens as "cache_read_tokens!",
    s.cache_write_tokens as "cache_write_tokens!",
    s.reasoning_tokens as "reasoning_tokens!"
from debug_runs r
-- Sums are numeric; what no bigint can hold is no count of tokens.
cross join lateral (
    select
        count(*) as step_count,
        least(coalesce(sum((d.usage ->> 'input_tokens')::bigint), 0), 9223372036854775807)::bigint
            as input_tokens,
        least(coalesce(sum((d.usage ->> 'output_tokens')::bigint), 0), 9223372036854775807)::bigint
            as output_tokens,
        least(coalesce(sum((d.usage ->> 'cache_read_tokens')::bigint), 0), 9223372036854775807)::bigint
            as cache_read_tokens,
        least(coalesce(sum((d.usage ->> 'cache_write_tokens')::bigint), 0), 9223372036854775807)::bigint
            as cache_write_tokens,
        least(coalesce(sum((d.usage ->> 'reasoning_tokens')::bigint), 0), 9223372036854775807)::bigint
            as reasoning_tokens
    from debug_steps d
    where d.chat_id = r.chat_id
    and d.run_id = r.run_id
) s
where r.chat_id = $1
and ($2::uuid is null or r.run_id = $2)
and ($3::uuid is null or r.run_id < $3)
order by r.run_id desc
limit $4
