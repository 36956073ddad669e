-- 430_charges_counted: each peak and usage charge of the cycles rated now, and how much of it there is.
--
-- in:    cycles_rated, charges, peaks, usage_quantities
-- out:   subscription_id, cycle_start, plan, charge | kind, quantity, peak_at, is_plan_at_end, ...
-- grain: one row per cycle, plan and counted charge: all of the plan at the cycle's end, and what others had counted
-- why:   peaks and minimums follow the plan in force at the cycle's last active instant.
with counted as (
    select
        cycles.subscription_id,
        cycles.cycle_start,
        cycles.plan,
        charges.charge,
        true as is_plan_at_end,
        coalesce(peaks.quantity, usage.quantity, 0) as quantity,
        peaks.peak_at
    from cycles_rated as cycles
    inner join charges
        on
            cycles.rate_card = charges.rate_card
            and cycles.rate_card_version = charges.rate_card_version
            and cycles.plan = charges.plan
            and charges.kind in ('peak', 'usage')
    left join peaks
        on
            cycles.subscription_id = peaks.subscription_id
            and cycles.cycle_start = peaks.cycle_start
            and charges.category = peaks.category
    left join usage_quantities as usage
        on
            cycles.subscription_id = usage.subscription_id
            and cycles.cycle_start = usage.cycle_start
            and cycles.plan = usage.plan
            and charges.charge = usage.charge
    union all
    select
        usage.subscription_id,
        usage.cycle_start,
        usage.plan,
        usage.charge,
        false as is_plan_at_end,
        usage.quantity,
        null as peak_at
    from usage_quantities as usage
    inner join cycles_rated as cycles
        on usage.subscription_id = cycles.subscription_id and usage.cycle_start = cycles.cycle_start
    where usage.plan <> cycles.plan
)

select
    counted.subscription_id,
    counted.cycle_start,
    cycles.cycle_end,
    cycles.is_due,
    cycles.rate_card,
    cycles.rate_card_version,
    counted.plan,
    counted.charge,
    counted.is_plan_at_end,
    charges.charge_number,
    charges.kind,
    charges.category,
    charges.meter,
    charges.aggregation,
    charges.price_form,
    charges.unit_price,
    charges.package_size,
    charges.price,
    charges.cap,
    cast(counted.quantity as decimal(18, 6)) as quantity,
    counted.peak_at
from counted
inner join cycles_rated as cycles
    on counted.subscription_id = cycles.subscription_id and counted.cycle_start = cycles.cycle_start
inner join charges
    on
        cycles.rate_card = charges.rate_card
        and cycles.rate_card_version = charges.rate_card_version
        and counted.plan = charges.plan
        and counted.charge = charges.charge
