-- 500_running_quantities: what each usage charge had counted after each row, where a spending limit may bite.
--
-- in:    usage_charged, cycles_limited, charges
-- out:   subscription_id, cycle_start, plan, charge, event_id | occurred_at, charge_number, quantity, price_form, ...
-- grain: one row per counted usage row and charge whose price grows row by row, in cycles with a limit
-- why:   volume prices and max, latest and unique are known at the cycle's end only.
select
    usage.subscription_id,
    usage.cycle_start,
    limited.rate_card,
    limited.rate_card_version,
    usage.plan,
    usage.charge,
    usage.event_id,
    usage.occurred_at,
    usage.charge_number,
    charges.price_form,
    charges.unit_price,
    charges.package_size,
    charges.cap,
    cast(
        sum(usage.counted) over (
            partition by usage.subscription_id, usage.cycle_start, usage.plan, usage.charge
            order by usage.occurred_at, usage.event_id
            rows between unbounded preceding and current row
        ) as decimal(18, 6)
    ) as quantity
from usage_charged as usage
inner join cycles_limited as limited
    on usage.subscription_id = limited.subscription_id and usage.cycle_start = limited.cycle_start
inner join charges
    on
        limited.rate_card = charges.rate_card
        and limited.rate_card_version = charges.rate_card_version
        and usage.plan = charges.plan
        and usage.charge = charges.charge
where usage.aggregation in ('sum', 'count') and charges.price_form <> 'volume'
