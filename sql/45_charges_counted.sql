-- 45_charges_counted: each peak and usage charge of the cycles rated now, and how much of it there is.
--
-- in:    cycles_rated, charges, peaks, usage_quantities
-- out:   subscription_id, cycle_start, plan, charge | kind, quantity, peak_at, is_plan_at_end, ...
-- grain: one row per cycle, plan and counted charge: all of the plan at the cycle's end, and what others had counted
-- why:   peaks and minimums follow the plan in force at the cycle's last active instant.
with at_end as (
    select
        cycles.subscription_id,
        cycles.cycle_start,
        cycles.plan,
        charges.charge,
        peaks.quantity as carts,
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
),

named as (
    select
        subscription_id,
        cycle_start,
        plan,
        charge
    from at_end
    union
    select
        subscription_id,
        cycle_start,
        plan,
        charge
    from usage_quantities
)

select
    named.subscription_id,
    named.cycle_start,
    cycles.cycle_end,
    cycles.is_due,
    cycles.rate_card,
    cycles.rate_card_version,
    named.plan,
    named.charge,
    named.plan = cycles.plan as is_plan_at_end,
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
    cast(coalesce(at_end.carts, usage.quantity, 0) as decimal(18, 6)) as quantity,
    at_end.peak_at
from named
inner join cycles_rated as cycles
    on named.subscription_id = cycles.subscription_id and named.cycle_start = cycles.cycle_start
inner join charges
    on
        cycles.rate_card = charges.rate_card
        and cycles.rate_card_version = charges.rate_card_version
        and named.plan = charges.plan
        and named.charge = charges.charge
left join at_end
    on
        named.subscription_id = at_end.subscription_id
        and named.cycle_start = at_end.cycle_start
        and named.plan = at_end.plan
        and named.charge = at_end.charge
left join usage_quantities as usage
    on
        named.subscription_id = usage.subscription_id
        and named.cycle_start = usage.cycle_start
        and named.plan = usage.plan
        and named.charge = usage.charge
