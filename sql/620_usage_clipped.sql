-- 620_usage_clipped: the running total of each cycle's usage under its spending limit.
--
-- in:    usage_steps
-- out:   subscription_id, cycle_start, instant, phase, event_id, charge_number, plan, charge | billed, clipped, ...
-- grain: one row per step; billed is the running total after it, clipped what the limit took from this step
-- why:   with S the sum of all steps so far and L the limit at each, what is clipped so far is the highest S - L so
--        far, and never below 0: what was clipped before a raise stays clipped, what comes after counts on from the
--        old limit. What was billed before any limit was agreed stays billed: L is never below it.
with summed as (
    select
        *,
        sum(amount) over steps_so_far as amount_so_far,
        row_number() over steps_so_far as step
    from usage_steps
    window steps_so_far as (
        partition by subscription_id, cycle_start
        order by instant, phase, event_id, charge_number, plan
        rows between unbounded preceding and current row
    )
),

unlimited as (
    select
        *,
        coalesce(max(case when limit_amount is null then amount_so_far end) over steps_so_far, 0) as billed_unlimited
    from summed
    window steps_so_far as (
        partition by subscription_id, cycle_start order by step
        rows between unbounded preceding and current row
    )
),

passed as (
    select
        *,
        greatest(max(amount_so_far - greatest(limit_amount, billed_unlimited)) over steps_so_far, 0) as clipped_so_far
    from unlimited
    window steps_so_far as (
        partition by subscription_id, cycle_start order by step
        rows between unbounded preceding and current row
    )
)

select
    *,
    amount_so_far - clipped_so_far as billed,
    clipped_so_far - coalesce(
        lag(clipped_so_far) over (partition by subscription_id, cycle_start order by step), 0
    ) as clipped
from passed
