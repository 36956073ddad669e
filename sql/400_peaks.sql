-- 400_peaks: the most carts of each category active at any one instant of each cycle.
--
-- in:    carts_reached
-- out:   subscription_id, cycle_start, category | quantity, peak_at
-- grain: one row per subscription, cycle and category with a cart active
-- why:   page 000: the maximum number of carts used at any one time during the month.
select
    subscription_id,
    cycle_start,
    category,
    max(carts) as quantity,
    max_by(reached_at, carts) as peak_at
from carts_reached
where carts > 0
group by subscription_id, cycle_start, category
