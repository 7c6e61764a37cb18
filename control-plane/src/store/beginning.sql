-- What creating a chat begins with, in one round trip.
-- $1 actor, $2 request id, $3 organization, $4 owner.
select
    clock_timestamp() as "now!",
    r.method as "method?",
    encode(r.body_sha256, 'hex') as "body_sha256?",
    r.result as "reply?: Json<Reply>",
    p.text as "text?",
    p.default_enabled as "default_enabled?",
    p.version as "version?",
    p.update_time as "update_time?",
    json_build_object(
        'user_instructions', (
            select u.text
            from user_instructions u
            where u.user_id = $4
        ),
        'compaction_thresholds', (
            select json_object_agg(t.model, t.percent)
            from compaction_thresholds t
            where t.user_id = $4
            and t.organization_id = $3
        ),
        'debug_recording', (
            select d.policy = 'forced'
                or (
                    d.policy = 'allowed'
                    and exists (
                        select
                        from debug_choices h
                        where h.user_id = $4
                        and h.enabled
                    )
                )
            from debug_policies d
            where d.organization_id = $3
        )
    ) as "turn_settings!: Json<TurnSettings>"
from (select 1) as one
left join requests r on r.actor_id = $1 and r.request_id = $2
left join deployment_prompts p on p.organization_id = $3
