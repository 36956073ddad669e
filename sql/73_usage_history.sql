-- 73_usage_history: what each counted charge came to, cycle by cycle: the page a customer checks a bill against.
--
-- in:    charges_due, rounded_amounts
-- out:   subscription_id, cycle_start, charge | the columns of the published table
-- grain: one row per invoiced cycle and counted charge of its plan, also where nothing was used
select
    due.subscription_id,
    due.cycle_start,
    due.cycle_end,
    due.plan,
    due.charge,
    cast(due.quantity as decimal(28, 6)) as quantity,
    cast(null as decimal(28, 6)) as minimum,
    cast(null as decimal(28, 6)) as shortfall,
    due.peak_at,
    rounded.amount,
    cast(0 as decimal(20, 4)) as clipped
from charges_due as due
inner join rounded_amounts as rounded
    on
        due.subscription_id = rounded.subscription_id
        and due.cycle_start = rounded.cycle_start
        and due.charge = rounded.charge
where due.kind = 'peak'
