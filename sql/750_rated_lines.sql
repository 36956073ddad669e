-- 750_rated_lines: every line of the invoices due now, and of the issued ones as they come to now.
--
-- in:    lines, limit_lines, invoices_due
-- out:   invoice_id, kind, charge, plan, service_start, stands_for | the line
-- grain: one row per line
select *
from lines
union all
select
    invoices.invoice_id,
    'spending_limit' as kind,
    'spending_limit' as charge,
    invoices.plan,
    invoices.rate_card_version,
    5 as place,
    1 as charge_number,
    'usage above the spending limit' as description,
    cast(1 as decimal(18, 6)) as quantity,
    cast(null as decimal(28, 9)) as unit_price,
    limits.amount,
    invoices.cycle_start as service_start,
    invoices.cycle_end as service_end,
    '' as stands_for,
    cast(
        to_json(struct_pack(
            limit_amount := cast(limits.limit_amount as varchar),
            clipped := cast(limits.clipped as varchar),
            amount_exact := cast(limits.amount_exact as varchar),
            amount_of_lines := cast(limits.amount_of_lines as varchar)
        )) as varchar
    ) as evidence
from limit_lines as limits
inner join invoices_due as invoices on limits.invoice_id = invoices.invoice_id
