//! What a copy of a chat begins with.
//!
//! The source goes on while it is copied, so nobody can say beforehand what the copy is made
//! of. But it is made of one version of the source's history, which is one of those that were
//! between a look before the call and a look after its reply.

use sqlx::{Executor as _, PgConnection};

use super::SHOWN_MAX;
use crate::records::Fork;

/// What is wrong with a copy, if it is one of this version of the source's history. The rows
/// with which a copy begins have revision 1.
const FAULTS: &str = r"
create temp table soak_forks (
    copy uuid not null, source uuid not null, target bigint not null, history_before bigint not null,
    history_after bigint not null
);

-- What a message is found by goes with its deletion, which may come after the copy.
create function pg_temp.said(m messages) returns jsonb language sql immutable as $$
    select to_jsonb(m) - 'chat_id' - 'revision' - 'deleted' - 'search'
$$;

create function pg_temp.copy_faults(copy uuid, source uuid, target bigint, version bigint)
returns setof text language sql stable as $$
with live as (
    select distinct on (r.id) r.id, r.deleted
    from soak_revisions r
    where r.chat_id = source
    and r.revision <= version
    order by r.id, r.revision desc
),
expected as materialized (
    select m.id, m.role, m.covers_through, m.content, pg_temp.said(m) as said
    from live
    join messages m on m.chat_id = source and m.id = live.id
    where not live.deleted
    and (m.role = 'system' or coalesce(m.covers_through, m.id) <= target)
),
copied as materialized (
    select m.id, m.role, m.content, pg_temp.said(m) as said
    from soak_revisions r
    join messages m on m.chat_id = copy and m.id = r.id
    where r.chat_id = copy
    and r.revision = 1
),
results as (
    select (e.content #>> '{parts,0,call_message_id}')::bigint as id, (e.content #>> '{parts,0,call_index}')::bigint as call_index
    from expected e
    where e.role = 'tool'
),
open_calls as materialized (
    select e.id, row_number() over (partition by e.id order by p.place) - 1 as call_index
    from expected e
    cross join lateral jsonb_array_elements(e.content -> 'parts') with ordinality as p (part, place)
    where e.role = 'assistant'
    and p.part ->> 'kind' = 'tool_call'
    except
    select r.id, r.call_index from results r
),
added as (
    select c.id, (c.content #>> '{parts,0,call_message_id}')::bigint as call_message_id,
        (c.content #>> '{parts,0,call_index}')::bigint as call_index,
        c.role = 'tool' and c.content #>> '{parts,0,synthetic_reason}' = 'forked' as closes_a_call
    from copied c
    where c.id not in (select e.id from expected e)
)
select format('message %s is not copied as it is', e.id)
from expected e
left join copied c using (id)
where c.said is distinct from e.said
union all
select format('message %s is neither a copy nor closes an open call', a.id)
from added a
where not coalesce(a.closes_a_call, false)
or (a.call_message_id, a.call_index) not in (select o.id, o.call_index from open_calls o)
or a.id <= (select max(e.id) from expected e)
union all
select format('call %s.%s is closed %s times', o.id, o.call_index, count(a.id))
from open_calls o
left join added a on a.call_message_id = o.id and a.call_index = o.call_index
group by o.id, o.call_index
having count(a.id) <> 1
$$;
";

/// Copies that are none of any version that they may be of.
const BROKEN: &str = r"
select format('the copy %s of chat %s through %s, of version %s to %s: %s', f.copy, f.source, f.target,
    f.history_before, f.history_after,
    (
        select string_agg(wrong.what, ', ')
        from pg_temp.copy_faults(f.copy, f.source, f.target, f.history_after) as wrong (what)
    ))
from soak_forks f
where not exists (
    select
    from (
        select distinct r.revision as version
        from soak_revisions r
        where r.chat_id = f.source
        and r.revision between f.history_before and f.history_after
    ) v
    where not exists (
        select
        from pg_temp.copy_faults(f.copy, f.source, f.target, v.version)
    )
)";

pub(super) async fn broken(connection: &mut PgConnection, forks: &[Fork]) -> Vec<String> {
    connection.execute(FAULTS).await.expect("the functions are right");
    for fork in forks {
        sqlx::query("insert into soak_forks values ($1::uuid, $2::uuid, $3, $4, $5)")
            .bind(&fork.copy)
            .bind(&fork.source)
            .bind(fork.target)
            .bind(fork.history_before)
            .bind(fork.history_after)
            .execute(&mut *connection)
            .await
            .expect("a copy can be noted");
    }
    let broken: Vec<String> =
        sqlx::query_scalar(BROKEN).fetch_all(connection).await.expect("the copies can be compared");
    broken.into_iter().take(SHOWN_MAX).collect()
}
