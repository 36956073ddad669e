-- 41_amounts: each charge's exact amount, not rounded.
--
-- in:    charges_due, price_tiers
-- out:   subscription_id, cycle_start, charge | amount_exact
-- grain: one row per due cycle and charge of its plan
-- why:   graduated: each unit at its own tier's price. volume: all units at the reached tier's. package: started ones
--        whole. flat and per_unit are graduated prices of one tier. A tier's flat is charged once when a unit falls
--        into it.
with by_tier as (
    select
        due.subscription_id,
        due.cycle_start,
        due.charge,
        case
            when due.price_form <> 'volume'
                then (least(due.quantity, coalesce(tiers.up_to, due.quantity)) - tiers.above) * tiers.unit_price
            when tiers.up_to is null or due.quantity <= tiers.up_to
                then due.quantity * tiers.unit_price
            else 0
        end as amount_of_units,
        case
            when due.price_form <> 'volume' or tiers.up_to is null or due.quantity <= tiers.up_to then tiers.flat_price
            else 0
        end as amount_flat
    from charges_due as due
    inner join price_tiers as tiers
        on
            due.rate_card = tiers.rate_card
            and due.rate_card_version = tiers.rate_card_version
            and due.plan = tiers.plan
            and due.charge = tiers.charge
    where due.quantity > tiers.above
),

tiered as (
    select
        subscription_id,
        cycle_start,
        charge,
        sum(cast(amount_of_units as decimal(38, 15)) + cast(amount_flat as decimal(38, 15))) as amount_exact
    from by_tier
    group by subscription_id, cycle_start, charge
),

packages as (
    select
        subscription_id,
        cycle_start,
        charge,
        cast(
            (cast(quantity * 1000000 as bigint) + cast(package_size * 1000000 as bigint) - 1)
            // cast(package_size * 1000000 as bigint) as decimal(18, 0)
        ) * unit_price as amount_exact
    from charges_due
    where price_form = 'package'
)

select
    due.subscription_id,
    due.cycle_start,
    due.charge,
    cast(coalesce(tiered.amount_exact, packages.amount_exact, 0) as decimal(38, 15)) as amount_exact
from charges_due as due
left join tiered
    on
        due.subscription_id = tiered.subscription_id
        and due.cycle_start = tiered.cycle_start
        and due.charge = tiered.charge
left join packages
    on
        due.subscription_id = packages.subscription_id
        and due.cycle_start = packages.cycle_start
        and due.charge = packages.charge
