-- 610_usage_steps: what each charged row, and each item of a cycle's end, adds to the cycle's usage charges.
--
-- in:    running_quantities, prices, cycles_limited, charges_counted, limits_in_force
-- out:   subscription_id, cycle_start, instant, phase, event_id, charge_number, plan, charge | amount, limit_amount
-- grain: one row per step of a cycle with a limit, in the order (instant, phase, event_id, charge_number, plan,
--        charge)
-- why:   usage is charged in order of occurred_at, then event_id. Volume prices and charges by max, latest or unique
--        come at the cycle's end, shortfalls last; all after each charge's own cap. A shortfall that costs less than
--        nothing (a falling volume price) is taken together with its charge, so that no step is negative and no bill
--        either.
with row_by_row as (
    select
        running.subscription_id,
        running.cycle_start,
        running.occurred_at as instant,
        0 as phase,
        running.event_id,
        running.charge_number,
        running.plan,
        running.charge,
        prices.amount - coalesce(
            lag(prices.amount) over (
                partition by running.subscription_id, running.cycle_start, running.plan, running.charge
                order by running.occurred_at, running.event_id
            ), 0
        ) as amount
    from running_quantities as running
    inner join prices
        on
            running.subscription_id = prices.subscription_id
            and running.cycle_start = prices.cycle_start
            and running.plan = prices.plan
            and running.charge = prices.charge
            and running.event_id = prices.event_id
            and prices.part = 'running'
),

at_end as (
    select
        counted.subscription_id,
        counted.cycle_start,
        limited.ends_at as instant,
        case when prices.part = 'own' then 1 else 2 end as phase,
        '' as event_id,
        counted.charge_number,
        counted.plan,
        counted.charge,
        case
            when prices.part = 'own' then least(prices.amount, coalesce(whole.amount, prices.amount))
            else greatest(prices.amount - own.amount, 0)
        end as amount
    from charges_counted as counted
    inner join cycles_limited as limited
        on counted.subscription_id = limited.subscription_id and counted.cycle_start = limited.cycle_start
    inner join prices
        on
            counted.subscription_id = prices.subscription_id
            and counted.cycle_start = prices.cycle_start
            and counted.plan = prices.plan
            and counted.charge = prices.charge
            and prices.part in ('own', 'whole')
    inner join prices as own
        on
            counted.subscription_id = own.subscription_id
            and counted.cycle_start = own.cycle_start
            and counted.plan = own.plan
            and counted.charge = own.charge
            and own.part = 'own'
    left join prices as whole
        on
            counted.subscription_id = whole.subscription_id
            and counted.cycle_start = whole.cycle_start
            and counted.plan = whole.plan
            and counted.charge = whole.charge
            and whole.part = 'whole'
    where
        counted.kind = 'usage'
        and (
            prices.part = 'whole' or counted.price_form = 'volume' or counted.aggregation not in ('sum', 'count')
        )
),

steps as (
    select * from row_by_row
    union all
    select * from at_end
)

select
    steps.subscription_id,
    steps.cycle_start,
    steps.instant,
    steps.phase,
    steps.event_id,
    steps.charge_number,
    steps.plan,
    steps.charge,
    steps.amount,
    coalesce(limits.limit_agreed, limited.limit_default) as limit_amount
from steps
inner join cycles_limited as limited
    on steps.subscription_id = limited.subscription_id and steps.cycle_start = limited.cycle_start
inner join limits_in_force as limits
    on
        steps.subscription_id = limits.subscription_id
        and steps.instant = limits.instant
        and (steps.phase > 0) = limits.is_cycle_end
