-- 440_minimums: the least quantity of each charge that has a minimum, and what is missing to reach it.
--
-- in:    cycles_due, charges, usage_totals, usage_seen
-- out:   subscription_id, cycle_start, charge | plan, used, minimum, shortfall, days, whole_days
-- grain: one row per cycle due and charge with a minimum, used or not
-- why:   a minimum is owed even where nothing was used, so this starts from the cycles. Used is the meter's quantity
--        by the charge's aggregation, whatever plan it was under. Page 003 cuts the daily quota to one decimal before
--        it multiplies: 200 over 31 days is 6.4 a day, and 7 days are 44. Whole parts and millionths are multiplied
--        apart, so that 12 digits fit.
with owed as (
    select
        cycles.subscription_id,
        cycles.cycle_start,
        cycles.plan,
        charges.charge,
        charges.aggregation,
        charges.minimum_meter,
        charges.minimum_quantity,
        charges.is_minimum_prorated,
        charges.minimum_daily_decimals,
        cast(datediff('day', cycles.cycle_start, cycles.cycle_end) as bigint) as days,
        cast(cycles.whole_days as bigint) as whole_days,
        cast(floor(charges.minimum_quantity) as bigint) as minimum_units,
        cast((charges.minimum_quantity - floor(charges.minimum_quantity)) * 1000000 as bigint) as minimum_millionths,
        case charges.minimum_daily_decimals
            when 0 then 1 when 1 then 10 when 2 then 100 when 3 then 1000 when 4 then 10000 when 5 then 100000
            when 6 then 1000000
        end as daily_scale
    from cycles_due as cycles
    inner join charges
        on
            cycles.rate_card = charges.rate_card
            and cycles.rate_card_version = charges.rate_card_version
            and cycles.plan = charges.plan
            and charges.minimum_quantity is not null
),

totals as (
    select
        subscription_id,
        cycle_start,
        meter,
        sum(rows_above_zero) as rows_above_zero,
        sum(quantity_sum) as quantity_sum,
        max(quantity_max) as quantity_max
    from usage_totals
    group by subscription_id, cycle_start, meter
),

by_row as (
    select
        owed.subscription_id,
        owed.cycle_start,
        owed.charge,
        case
            when min(owed.aggregation) = 'latest'
                then max_by(seen.quantity, struct_pack(seen.occurred_at, seen.event_id))
            else count(distinct seen.value)
        end as quantity
    from owed
    inner join usage_seen as seen
        on
            owed.subscription_id = seen.subscription_id
            and owed.cycle_start = seen.cycle_start
            and owed.minimum_meter = seen.meter
    where seen.quantity > 0 or owed.aggregation = 'latest'
    group by owed.subscription_id, owed.cycle_start, owed.charge
),

scaled as (
    select
        *,
        case
            when not is_minimum_prorated or days = whole_days then minimum_quantity
            when minimum_daily_decimals is null
                then cast((minimum_units * days + minimum_millionths * days // 1000000) // whole_days as decimal(18, 6))
            else
                cast(
                    (minimum_units * daily_scale + minimum_millionths * daily_scale // 1000000) // whole_days * days
                    // daily_scale as decimal(18, 6)
                )
        end as minimum
    from owed
),

compared as (
    select
        scaled.*,
        coalesce(
            cast(
                case scaled.aggregation
                    when 'sum' then totals.quantity_sum
                    when 'count' then totals.rows_above_zero
                    when 'max' then totals.quantity_max
                    else by_row.quantity
                end as decimal(18, 6)
            ),
            0
        ) as used
    from scaled
    left join totals
        on
            scaled.subscription_id = totals.subscription_id
            and scaled.cycle_start = totals.cycle_start
            and scaled.minimum_meter = totals.meter
    left join by_row
        on
            scaled.subscription_id = by_row.subscription_id
            and scaled.cycle_start = by_row.cycle_start
            and scaled.charge = by_row.charge
)

select
    subscription_id,
    cycle_start,
    plan,
    charge,
    used,
    minimum,
    cast(greatest(minimum - used, 0) as decimal(18, 6)) as shortfall,
    days,
    whole_days
from compared
