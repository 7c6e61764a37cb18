//! Rules over rows alone: each a query that answers with what breaks it.

/// The rules by name. The numbers are those of the state machine's invariants; a rule without
/// one is of the state machine's page, too, or of what is derived from other rows.
pub(crate) const RULES: [(&str, &str); 13] = [
    ("1: every call has one result", CALLS_WITHOUT_RESULT),
    ("1: every result has its call", RESULTS_WITHOUT_CALL),
    ("1: results stand before what follows", RESULTS_TOO_LATE),
    ("1: no boundary parts a call and its result", RESULTS_PARTED),
    ("2: versions are below the snapshot", VERSIONS),
    ("2: rows are not newer than their chat", REVISIONS),
    ("3: states and what they allow", STATES),
    ("counts are those of the rows", COUNTS),
    ("calls are settled as their results say", SETTLED),
    ("compaction: a boundary lives as a whole", BOUNDARIES),
    ("compaction: the newest boundary is the chat's", NEWEST_BOUNDARY),
    ("compaction: the prompt has the bytes that are counted", HISTORY_BYTES),
    ("8: accounts are of leases that were", ACCOUNTS),
];

/// Live calls and live results, with their place.
macro_rules! calls_and_results {
    ($rest:literal) => {
        concat!(
            r"
with calls_said as (
    select
        m.chat_id, m.id, m.covers_through,
        row_number() over (partition by m.chat_id, m.id order by p.place) - 1 as call_index
    from messages m
    cross join lateral jsonb_array_elements(m.content -> 'parts') with ordinality as p (part, place)
    where m.role = 'assistant'
    and not m.deleted
    and p.part ->> 'kind' = 'tool_call'
),
results_said as (
    select
        m.chat_id, m.id as result_id, m.covers_through,
        (p.part ->> 'call_message_id')::bigint as id,
        (p.part ->> 'call_index')::bigint as call_index
    from messages m
    cross join lateral jsonb_array_elements(m.content -> 'parts') as p (part)
    where m.role = 'tool'
    and not m.deleted
)
",
            $rest
        )
    };
}

const CALLS_WITHOUT_RESULT: &str = calls_and_results!(
    r"
select format('call %s.%s of chat %s has %s results', c.id, c.call_index, c.chat_id, count(r.result_id))
from calls_said c
left join results_said r using (chat_id, id, call_index)
group by c.chat_id, c.id, c.call_index
having count(r.result_id) <> 1"
);

const RESULTS_WITHOUT_CALL: &str = calls_and_results!(
    r"
select format('result %s of chat %s is of call %s.%s, which is not there', r.result_id, r.chat_id, r.id, r.call_index)
from results_said r
left join calls_said c using (chat_id, id, call_index)
where c.chat_id is null
or c.covers_through is distinct from r.covers_through"
);

const RESULTS_TOO_LATE: &str = calls_and_results!(
    r"
select format('message %s of chat %s stands between call %s and its result %s', m.id, m.chat_id, r.id, r.result_id)
from results_said r
join messages m
    on m.chat_id = r.chat_id
    and m.id > r.id
    and m.id < r.result_id
    and m.role in ('user', 'assistant')
    and m.covers_through is null
    and not m.deleted
where r.covers_through is null"
);

const RESULTS_PARTED: &str = calls_and_results!(
    r"
select format('message %s of chat %s is covered, its result %s is not', r.id, r.chat_id, r.result_id)
from results_said r
join chats c
    on c.chat_id = r.chat_id
    and c.covers_through >= r.id
    and c.covers_through < r.result_id
where r.covers_through is null"
);

const VERSIONS: &str = r"
select format('chat %s', c.chat_id)
from chats c
where greatest(c.history_version, c.queue_version, c.retry_version, c.error_version) > c.snapshot_version";

const REVISIONS: &str = r"
select format('message %s of chat %s', m.id, m.chat_id)
from messages m
join chats c using (chat_id)
where m.revision > c.history_version
or m.id >= c.next_message_id
union all
select format('queued message %s of chat %s', q.queued_message_id, q.chat_id)
from queued_messages q
join chats c using (chat_id)
where q.revision > c.queue_version
union all
select format('chat %s has no row of its history''s version', c.chat_id)
from chats c
where not exists (
    select
    from messages m
    where m.chat_id = c.chat_id
    and m.revision = c.history_version
)";

const STATES: &str = r"
select format('chat %s is %s, archived %s, leased %s, queue %s', c.chat_id, c.state, c.archived, c.leased, c.queue_length)
from chats c
where c.state not in ('waiting', 'error')
or c.leased
or (c.state = 'waiting' and c.queue_length > 0)
or c.open_call_count > 0
or c.compact_requested
or c.retry is not null
-- A copy's answers have revision 1: it has run no turn of its own.
or (
    c.last_turn_summary = ''
    and exists (
        select
        from messages m
        where m.chat_id = c.chat_id
        and m.role = 'assistant'
        and m.covers_through is null
        and m.revision > 1
    )
)";

const COUNTS: &str = r"
select format('chat %s', c.chat_id)
from chats c
where c.queue_length <> (
    select count(*)
    from queued_messages q
    where q.chat_id = c.chat_id
    and not q.removed
)
or c.open_call_count <> (
    select count(*)
    from calls o
    where o.chat_id = c.chat_id
    and not o.settled
)
or exists (
    select
    from queued_messages q
    where q.chat_id = c.chat_id
    and not q.removed
    group by q.position
    having count(*) > 1
)
-- At rest nothing steers.
or exists (
    select
    from queued_messages q
    where q.chat_id = c.chat_id
    and not q.removed
    and q.steering
)";

const BOUNDARIES: &str = r"
select format('the boundary through %s of chat %s has %s rows, %s of them deleted', m.covers_through, m.chat_id,
    count(*), count(*) filter (where m.deleted))
from messages m
where m.covers_through is not null
group by m.chat_id, m.covers_through
having count(*) filter (where m.deleted) not in (0, count(*))
-- A summary's has one row that the model sees; one that only clears has none.
or count(*) <> 2 + count(*) filter (where m.role = 'user' and m.visibility = 'model')
or count(*) filter (where m.visibility = 'user' and m.role in ('assistant', 'tool')) <> 2
or count(*) > 3
union all
select format('a row of chat %s covers %s, which it is not above', m.chat_id, m.covers_through)
from messages m
where m.covers_through >= m.id";

const NEWEST_BOUNDARY: &str = r"
select format('chat %s covers through %s, its boundaries through %s', c.chat_id, c.covers_through, b.covers_through)
from chats c
cross join lateral (
    select max(m.covers_through) as covers_through
    from messages m
    where m.chat_id = c.chat_id
    and not m.deleted
) b
where b.covers_through is distinct from c.covers_through";

const HISTORY_BYTES: &str = r"
select format('chat %s counts %s bytes, its prompt has %s', c.chat_id, c.history_bytes, p.bytes)
from chats c
cross join lateral (
    select coalesce(sum(m.content_bytes), 0) as bytes
    from messages m
    where m.chat_id = c.chat_id
    and not m.deleted
    and m.visibility <> 'user'
    and (
        m.role = 'system'
        or m.covers_through = c.covers_through
        or (m.covers_through is null and m.id > coalesce(c.covers_through, 0))
    )
) p
where p.bytes <> c.history_bytes";

const SETTLED: &str = r"
select format('call %s.%s of chat %s is open', o.message_id, o.call_index, o.chat_id)
from calls o
where not o.settled
union all
select format('call %s.%s of chat %s is settled and has %s live results', o.message_id, o.call_index, o.chat_id,
    count(r.id))
from calls o
join messages m on m.chat_id = o.chat_id and m.id = o.message_id and not m.deleted
left join messages r
    on r.chat_id = o.chat_id
    and r.role = 'tool'
    and not r.deleted
    and (r.content #>> '{parts,0,call_message_id}')::bigint = o.message_id
    and (r.content #>> '{parts,0,call_index}')::bigint = o.call_index
group by o.message_id, o.call_index, o.chat_id
having count(r.id) <> 1";

const ACCOUNTS: &str = r"
select format('model call %s under fence %s of chat %s', u.model_call, u.fence, u.chat_id)
from model_calls u
join chats c using (chat_id)
where u.fence not between 1 and c.fence";
