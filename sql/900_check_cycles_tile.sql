-- 900_check_cycles_tile: cycles of a subscription that leave a gap or overlap. No row may come out.
--
-- in:    billing_cycles
-- out:   subscription_id, cycle_start | cycle_end, next_cycle_start
-- grain: one row per fault
with followed as (
    select
        *,
        lead(cycle_start) over (partition by subscription_id order by cycle_start) as next_cycle_start,
        lead(starts_at) over (partition by subscription_id order by cycle_start) as next_starts_at
    from billing_cycles
)

select
    subscription_id,
    cycle_start,
    cycle_end,
    next_cycle_start
from followed
where
    cycle_start >= cycle_end
    or starts_at > ends_at
    or cycle_end <> next_cycle_start
    or ends_at <> next_starts_at
