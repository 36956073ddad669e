-- 408_usage_totals: what each meter counted in each cycle under each plan, priced or not.
--
-- in:    usage_sums_rated, usage_rows_rated
-- out:   subscription_id, cycle_start, plan, meter | rows_above_zero, quantity_sum, quantity_max
-- grain: one row per cycle, plan and meter with a row that counts or is not priced
with parts as (
    select
        subscription_id,
        cycle_start,
        plan,
        meter,
        rows_above_zero,
        quantity_sum,
        quantity_max
    from usage_sums_rated
    union all
    select
        subscription_id,
        cycle_start,
        plan,
        meter,
        case when quantity > 0 then 1 else 0 end as rows_above_zero,
        quantity as quantity_sum,
        quantity as quantity_max
    from usage_rows_rated
)

select
    subscription_id,
    cycle_start,
    plan,
    meter,
    cast(sum(rows_above_zero) as bigint) as rows_above_zero,
    sum(quantity_sum) as quantity_sum,
    max(quantity_max) as quantity_max
from parts
group by subscription_id, cycle_start, plan, meter
