-- 260_active_cycles: the cycles with an active instant, each with the plans in force at its first and last one.
--
-- in:    billing_cycles, active_segments, plan_spans, subscription_starts
-- out:   subscription_id, cycle_start | cycle_end, starts_at, ends_at, first_active_at, active_until, plan_first, ...
-- grain: one row per cycle with an active instant
-- why:   fees in advance follow the plan at the first active instant, all else that is due at the end the plan at the
--        last. is_after_active_cycle: an invoice falls on the day this cycle starts, so it can carry this cycle's fee.
with activity as (
    select
        subscription_id,
        cycle_start,
        min(segment_from) as first_active_at,
        max(segment_until) as active_until
    from active_segments
    group by subscription_id, cycle_start
),

planned as (
    select
        cycles.*,
        starts.rate_card,
        starts.started_at >= cycles.starts_at as is_first,
        activity.first_active_at,
        activity.active_until,
        firsts.plan as plan_first,
        lasts.plan
    from billing_cycles as cycles
    inner join activity
        on cycles.subscription_id = activity.subscription_id and cycles.cycle_start = activity.cycle_start
    inner join subscription_starts as starts on cycles.subscription_id = starts.subscription_id
    inner join plan_spans as firsts
        on
            cycles.subscription_id = firsts.subscription_id
            and activity.first_active_at >= firsts.plan_from
            and (firsts.plan_until is null or activity.first_active_at < firsts.plan_until)
    inner join plan_spans as lasts
        on
            cycles.subscription_id = lasts.subscription_id
            and activity.active_until > lasts.plan_from
            and (lasts.plan_until is null or activity.active_until <= lasts.plan_until)
)

select
    *,
    coalesce(lag(cycle_end) over cycles_in_order = cycle_start, false) as is_after_active_cycle,
    lag(cycle_start) over cycles_in_order as cycle_start_before
from planned
window cycles_in_order as (partition by subscription_id order by cycle_start)
