-- 25_cycles_due: the cycles to invoice now, each with the plan in force at its last active instant.
--
-- in:    billing_cycles, active_segments, plan_spans, subscription_starts, rate_card_versions, issued_cycles,
--        run_parameters
-- out:   subscription_id, cycle_start | cycle_end, starts_at, ends_at, rate_card_version, plan, first_active_at, ...
-- grain: one row per cycle with an active instant that is due and not issued yet
with activity as (
    select
        subscription_id,
        cycle_start,
        min(segment_from) as first_active_at,
        max(segment_until) as active_until
    from active_segments
    group by subscription_id, cycle_start
)

select
    cycles.subscription_id,
    cycles.cycle_start,
    cycles.cycle_end,
    cycles.starts_at,
    cycles.ends_at,
    starts.rate_card,
    cycles.rate_card_version,
    activity.first_active_at,
    activity.active_until,
    plans.plan
from billing_cycles as cycles
inner join activity
    on cycles.subscription_id = activity.subscription_id and cycles.cycle_start = activity.cycle_start
inner join subscription_starts as starts on cycles.subscription_id = starts.subscription_id
inner join plan_spans as plans
    on
        cycles.subscription_id = plans.subscription_id
        and activity.active_until > plans.plan_from
        and (plans.plan_until is null or activity.active_until <= plans.plan_until)
cross join run_parameters
left join rate_card_versions as versions
    on starts.rate_card = versions.rate_card and cycles.rate_card_version = versions.rate_card_version
left join issued_cycles as issued
    on cycles.subscription_id = issued.subscription_id and cycles.cycle_start = issued.cycle_start
where
    issued.subscription_id is null
    and cycles.cycle_end + coalesce(versions.grace_days, 0) <= run_parameters.as_of
