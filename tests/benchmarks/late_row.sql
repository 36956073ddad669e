-- An order item for the middle of the last cycle that ended by a day; of the first one to end, where none had by then.
select
    cycles.subscription_id,
    'late' as event_id,
    'order_items' as meter,
    1 as quantity,
    cycles.starts_at + (cycles.ends_at - cycles.starts_at) / 2 as occurred_at
from cycles
cross join bounds
where cycles.rate_card = 'orders' and cycles.cycle_start > bounds.first_day
order by
    cycles.cycle_end <= bounds.closed_by desc,
    abs(cycles.cycle_end - bounds.closed_by),
    cycles.subscription_id
limit 1
