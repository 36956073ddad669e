-- 400_peaks: the most carts of each category active at any one instant of each cycle.
--
-- in:    carts_active
-- out:   subscription_id, cycle_start, category | quantity, peak_at
-- grain: one row per subscription, cycle and category with a cart active
-- why:   page 000: the maximum number of carts used at any one time during the month.
with ranked as (
    select
        *,
        row_number() over (
            partition by subscription_id, cycle_start, category order by carts desc, active_from
        ) as place
    from carts_active
)

select
    subscription_id,
    cycle_start,
    category,
    carts as quantity,
    active_from as peak_at
from ranked
where place = 1 and carts > 0
