-- 420_usage_quantities: how much each usage charge counted in each cycle, under each plan.
--
-- in:    usage_totals, usage_seen, cycles_rated, charges
-- out:   subscription_id, cycle_start, plan, charge | charge_number, quantity
-- grain: one row per cycle rated now, plan and usage charge with a counted row
-- why:   rows are priced by the plan in force at their own instant. Rows of quantity 0 are skipped by count and unique.
--        What is latest, and which values there are, no total tells.
with counted as (
    select
        totals.subscription_id,
        totals.cycle_start,
        totals.plan,
        totals.meter,
        charges.charge,
        charges.charge_number,
        charges.aggregation,
        totals.rows_above_zero,
        totals.quantity_sum,
        totals.quantity_max
    from usage_totals as totals
    inner join cycles_rated as cycles
        on totals.subscription_id = cycles.subscription_id and totals.cycle_start = cycles.cycle_start
    inner join charges
        on
            cycles.rate_card = charges.rate_card
            and cycles.rate_card_version = charges.rate_card_version
            and totals.plan = charges.plan
            and totals.meter = charges.meter
    where totals.rows_above_zero > 0 or charges.aggregation not in ('count', 'unique')
),

by_row as (
    select
        counted.subscription_id,
        counted.cycle_start,
        counted.plan,
        counted.charge,
        case
            when min(counted.aggregation) = 'latest'
                then max_by(seen.quantity, struct_pack(seen.occurred_at, seen.event_id))
            else count(distinct seen.value)
        end as quantity
    from counted
    inner join usage_seen as seen
        on
            counted.subscription_id = seen.subscription_id
            and counted.cycle_start = seen.cycle_start
            and counted.plan = seen.plan
            and counted.meter = seen.meter
    where seen.verdict = 'counted' and (seen.quantity > 0 or counted.aggregation = 'latest')
    group by counted.subscription_id, counted.cycle_start, counted.plan, counted.charge
)

select
    counted.subscription_id,
    counted.cycle_start,
    counted.plan,
    counted.charge,
    counted.charge_number,
    cast(
        case counted.aggregation
            when 'sum' then counted.quantity_sum
            when 'count' then counted.rows_above_zero
            when 'max' then counted.quantity_max
            else by_row.quantity
        end as decimal(18, 6)
    ) as quantity
from counted
left join by_row
    on
        counted.subscription_id = by_row.subscription_id
        and counted.cycle_start = by_row.cycle_start
        and counted.plan = by_row.plan
        and counted.charge = by_row.charge
