-- near_bounds: the tiers, minimums, caps and limits within reach of what an open cycle has counted so far.
--
-- in:    open_cycles, charges_counted, price_tiers, minimums, charges, charge_amounts, limits_left, near_parameters
-- out:   bound_number | kind, subscription_id, cycle_start, plan, charge, bound, so_far, reach, counted_by, ...
-- grain: one row per bound and charge; a limit once for each usage charge of the plan at the end
-- why:   only charges of the plan at the end can still grow. A package is near when it is nearly full, whatever came
--        before it, so its reach is a share of its size; that of all others is a share of the bound.
with counted as (
    select
        cycles.account_id,
        cycles.cycle_end,
        cycles.currency,
        cycles.minor_digits,
        charges_counted.*
    from open_cycles as cycles
    inner join charges_counted
        on
            cycles.subscription_id = charges_counted.subscription_id
            and cycles.cycle_start = charges_counted.cycle_start
            and charges_counted.is_plan_at_end
),

bounds as (
    select
        'tier' as bound_kind,
        counted.*,
        cast(tiers.up_to as decimal(38, 15)) as bound,
        cast(counted.quantity as decimal(38, 15)) as so_far,
        tiers.up_to as reach_of,
        counted.meter as meter_counted,
        counted.quantity as quantity_counted,
        following.unit_price as price_next
    from counted
    inner join price_tiers as tiers
        on
            counted.rate_card = tiers.rate_card
            and counted.rate_card_version = tiers.rate_card_version
            and counted.plan = tiers.plan
            and counted.charge = tiers.charge
            and (counted.quantity > tiers.above or tiers.tier_number = 1)
            and counted.quantity <= tiers.up_to
    inner join price_tiers as following
        on
            tiers.rate_card = following.rate_card
            and tiers.rate_card_version = following.rate_card_version
            and tiers.plan = following.plan
            and tiers.charge = following.charge
            and tiers.tier_number + 1 = following.tier_number
    union all
    select
        'tier' as bound_kind,
        counted.*,
        cast(
            cast(
                (cast(quantity * 1000000 as bigint) + cast(package_size * 1000000 as bigint) - 1)
                // cast(package_size * 1000000 as bigint) as decimal(18, 0)
            ) * package_size as decimal(38, 15)
        ) as bound,
        cast(quantity as decimal(38, 15)) as so_far,
        package_size as reach_of,
        meter as meter_counted,
        quantity as quantity_counted,
        unit_price as price_next
    from counted
    where price_form = 'package' and quantity > 0
    union all
    select
        'minimum' as bound_kind,
        counted.*,
        cast(minimums.minimum as decimal(38, 15)) as bound,
        cast(minimums.used as decimal(38, 15)) as so_far,
        minimums.minimum as reach_of,
        charges.minimum_meter as meter_counted,
        minimums.used as quantity_counted,
        null as price_next
    from counted
    inner join minimums
        on
            counted.subscription_id = minimums.subscription_id
            and counted.cycle_start = minimums.cycle_start
            and counted.plan = minimums.plan
            and counted.charge = minimums.charge
    inner join charges
        on
            counted.rate_card = charges.rate_card
            and counted.rate_card_version = charges.rate_card_version
            and counted.plan = charges.plan
            and counted.charge = charges.charge
    where minimums.minimum > 0
    union all
    select
        'cap' as bound_kind,
        counted.*,
        cast(counted.cap as decimal(38, 15)) as bound,
        cast(amounts.amount_own + amounts.amount_minimum as decimal(38, 15)) as so_far,
        counted.cap as reach_of,
        counted.meter as meter_counted,
        counted.quantity as quantity_counted,
        null as price_next
    from counted
    inner join charge_amounts as amounts
        on
            counted.subscription_id = amounts.subscription_id
            and counted.cycle_start = amounts.cycle_start
            and counted.plan = amounts.plan
            and counted.charge = amounts.charge
    where counted.cap > 0
    union all
    select
        'limit' as bound_kind,
        counted.*,
        cast(limits.limit_amount as decimal(38, 15)) as bound,
        limits.billed as so_far,
        limits.limit_amount as reach_of,
        counted.meter as meter_counted,
        counted.quantity as quantity_counted,
        null as price_next
    from counted
    inner join limits_left as limits
        on counted.subscription_id = limits.subscription_id and counted.cycle_start = limits.cycle_start
    where counted.kind = 'usage'
),

owed as (
    select
        subscription_id,
        cycle_start,
        plan,
        charge,
        amount_own + amount_minimum + amount_cap as amount
    from charge_amounts
)

select
    row_number() over (
        order by bounds.bound_kind, bounds.subscription_id, bounds.cycle_start, bounds.plan, bounds.charge
    ) as bound_number,
    bounds.bound_kind as kind,
    bounds.account_id,
    bounds.subscription_id,
    bounds.cycle_start,
    bounds.cycle_end,
    bounds.rate_card,
    bounds.plan,
    bounds.charge,
    bounds.kind as charge_kind,
    bounds.price_form,
    bounds.currency,
    bounds.minor_digits,
    bounds.bound,
    bounds.so_far,
    bounds.bound - bounds.so_far as to_bound,
    bounds.reach_of,
    bounds.category,
    bounds.meter_counted as meter,
    bounds.aggregation,
    bounds.quantity_counted,
    bounds.price_next,
    owed.amount as charge_amount,
    cast(
        case
            when bounds.bound_kind in ('cap', 'limit') or bounds.bound <= bounds.so_far then 0
            when bounds.kind = 'peak' or bounds.aggregation in ('count', 'unique')
                then cast(floor(bounds.bound - bounds.so_far) as decimal(38, 15))
            else bounds.bound - bounds.so_far
        end as decimal(18, 6)
    ) as units_to_bound
from bounds
inner join owed
    on
        bounds.subscription_id = owed.subscription_id
        and bounds.cycle_start = owed.cycle_start
        and bounds.plan = owed.plan
        and bounds.charge = owed.charge
cross join near_parameters
where abs(bounds.bound - bounds.so_far) <= near_parameters.within * bounds.reach_of
