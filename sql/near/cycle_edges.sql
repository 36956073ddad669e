-- cycle_edges: the instants at which one cycle ends and the next begins, and the time around each that is looked at.
--
-- in:    open_cycles, near_parameters
-- out:   subscription_id, edge_at | edge_on, span_from, span_until, meter
-- grain: one row per subscription and edge of one of its open cycles; a first cycle has no other before it
-- why:   a clock that is behind by the whole span still moves what happened at span_until into the next cycle, so the
--        span is half-open. The empty meter stands for all of them.
with edges as (
    select
        subscription_id,
        starts_at as edge_at,
        cycle_start as edge_on
    from open_cycles
    where not is_first
    union
    select
        subscription_id,
        midnight_after as edge_at,
        cycle_end as edge_on
    from open_cycles
)

select
    edges.subscription_id,
    edges.edge_at,
    edges.edge_on,
    edges.edge_at - to_seconds(near_parameters.edge_seconds) as span_from,
    edges.edge_at + to_seconds(near_parameters.edge_seconds) as span_until,
    cast(null as varchar) as meter
from edges
cross join near_parameters
