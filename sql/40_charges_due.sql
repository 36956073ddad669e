-- 40_charges_due: what the plan of each due cycle charges for, and how much of it there is.
--
-- in:    cycles_due, active_spans, charges, peaks
-- out:   subscription_id, cycle_start, charge | plan, kind, quantity, peak_at, price_form, ...
-- grain: one row per due cycle and charge of its plan, also where the quantity is 0
-- why:   peaks and fees in arrears follow the plan in force at the cycle's last active instant. A fee in arrears with
--        on_cancel drop is not owed where the subscription is cancelled before the cycle's end and not back by then.
select
    due.subscription_id,
    due.cycle_start,
    due.cycle_end,
    due.rate_card,
    due.rate_card_version,
    due.plan,
    charges.charge,
    charges.charge_number,
    charges.kind,
    charges.category,
    charges.price_form,
    charges.unit_price,
    charges.package_size,
    charges.price,
    peaks.peak_at,
    due.active_until,
    due.ends_at,
    cast(
        case
            when charges.kind = 'peak' then coalesce(peaks.quantity, 0)
            when charges.on_cancel = 'drop' and due.active_until < due.ends_at and spans.active_from is null then 0
            else 1
        end as decimal(18, 6)
    ) as quantity
from cycles_due as due
inner join charges
    on
        due.rate_card = charges.rate_card
        and due.rate_card_version = charges.rate_card_version
        and due.plan = charges.plan
left join active_spans as spans
    on due.subscription_id = spans.subscription_id and due.ends_at = spans.active_from
left join peaks
    on
        due.subscription_id = peaks.subscription_id
        and due.cycle_start = peaks.cycle_start
        and charges.category = peaks.category
        and charges.kind = 'peak'
