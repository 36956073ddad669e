-- 470_fees_due: every recurring fee of the invoices due now, in advance and in arrears, not rounded.
--
-- in:    active_cycles, cycles_due, active_spans, invoices_due, charges
-- out:   invoice_id, cycle_start, plan, charge | cycle_end, bill, flat_price, days, whole_days, ...
-- grain: one row per fee
-- why:   a fee in advance stands on the invoice of the day its cycle starts: the opening invoice for the first cycle,
--        the invoice of the cycle before for later ones. Where the subscription is not active at that instant, or no
--        invoice falls there, it stands on the cycle's own. A fee in arrears with on_cancel drop is not owed
--        where it was cancelled before the cycle's end and is not back by then. Only a calendar card's first cycle is
--        shorter than a whole one.
with in_advance as (
    select
        cycles.subscription_id,
        case when cycles.is_first then 'opening' else 'cycle' end as invoice_kind,
        case
            when cycles.is_after_active_cycle and cycles.first_active_at = cycles.starts_at
                then cycles.cycle_start_before
            else cycles.cycle_start
        end as invoice_cycle_start,
        cycles.cycle_start,
        cycles.cycle_end,
        cycles.whole_days,
        cycles.rate_card,
        cycles.rate_card_version,
        cycles.plan_first as plan,
        'advance' as bill
    from active_cycles as cycles
),

in_arrears as (
    select
        cycles.subscription_id,
        'cycle' as invoice_kind,
        cycles.cycle_start as invoice_cycle_start,
        cycles.cycle_start,
        cycles.cycle_end,
        cycles.whole_days,
        cycles.rate_card,
        cycles.rate_card_version,
        cycles.plan,
        'arrears' as bill,
        cycles.active_until < cycles.ends_at and back.active_from is null as is_cancelled
    from cycles_due as cycles
    left join active_spans as back
        on cycles.subscription_id = back.subscription_id and cycles.ends_at = back.active_from
),

fees as (
    select
        in_advance.*,
        false as is_cancelled
    from in_advance
    union all
    select * from in_arrears
)

select
    invoices_due.invoice_id,
    fees.cycle_start,
    fees.cycle_end,
    fees.rate_card,
    fees.rate_card_version,
    fees.plan,
    fees.bill,
    charges.charge,
    charges.charge_number,
    charges.price,
    charges.flat_price,
    case
        when charges.is_prorated then cast(datediff('day', fees.cycle_start, fees.cycle_end) as integer)
        else fees.whole_days
    end as days,
    fees.whole_days
from fees
inner join charges
    on
        fees.rate_card = charges.rate_card
        and fees.rate_card_version = charges.rate_card_version
        and fees.plan = charges.plan
        and fees.bill = charges.bill
inner join invoices_due
    on
        fees.subscription_id = invoices_due.subscription_id
        and fees.invoice_kind = invoices_due.kind
        and fees.invoice_cycle_start = invoices_due.cycle_start
where not (fees.is_cancelled and charges.on_cancel = 'drop')
