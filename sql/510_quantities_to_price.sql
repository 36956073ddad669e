-- 510_quantities_to_price: every quantity whose exact price is asked for.
--
-- in:    charges_counted, minimums, running_quantities
-- out:   subscription_id, cycle_start, plan, charge, part, event_id | quantity, ...
-- grain: one row per quantity asked for. part `own` is what was counted, `whole` that and the shortfall, where
--        there is a minimum, `running` what was counted up to and including an event
select
    subscription_id,
    cycle_start,
    rate_card,
    rate_card_version,
    plan,
    charge,
    price_form,
    unit_price,
    package_size,
    cap,
    'own' as part,
    '' as event_id,
    quantity
from charges_counted
union all
select
    counted.subscription_id,
    counted.cycle_start,
    counted.rate_card,
    counted.rate_card_version,
    counted.plan,
    counted.charge,
    counted.price_form,
    counted.unit_price,
    counted.package_size,
    counted.cap,
    'whole' as part,
    '' as event_id,
    cast(counted.quantity + minimums.shortfall as decimal(18, 6)) as quantity
from charges_counted as counted
inner join minimums
    on
        counted.subscription_id = minimums.subscription_id
        and counted.cycle_start = minimums.cycle_start
        and counted.plan = minimums.plan
        and counted.charge = minimums.charge
union all
select
    subscription_id,
    cycle_start,
    rate_card,
    rate_card_version,
    plan,
    charge,
    price_form,
    unit_price,
    package_size,
    cap,
    'running' as part,
    event_id,
    quantity
from running_quantities
