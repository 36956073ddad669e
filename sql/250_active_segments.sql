-- 250_active_segments: the parts of each cycle in which its subscription is active.
--
-- in:    billing_cycles, active_spans
-- out:   subscription_id, segment_from | cycle_start, segment_until, cycle_ends_at
-- grain: one row per unbroken span of activity within a cycle
with cut as (
    select
        cycles.subscription_id,
        cycles.cycle_start,
        cycles.ends_at as cycle_ends_at,
        greatest(cycles.starts_at, spans.active_from) as segment_from,
        least(cycles.ends_at, coalesce(spans.active_until, cycles.ends_at)) as segment_until
    from billing_cycles as cycles
    inner join active_spans as spans on cycles.subscription_id = spans.subscription_id
)

select
    subscription_id,
    cycle_start,
    segment_from,
    segment_until,
    cycle_ends_at
from cut
where segment_from < segment_until
