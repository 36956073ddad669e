-- 75_invoice_lines: the lines of the invoices issued now.
--
-- in:    lines, limit_lines, invoices_due
-- out:   invoice_id, line_number | the columns of the published table
-- grain: one row per line
with limits as (
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
),

all_lines as (
    select * from lines
    union all
    select * from limits
)

select
    invoice_id,
    cast(
        row_number() over (
            partition by invoice_id
            order by place, service_start, charge_number, charge, plan, kind desc, stands_for
        ) as integer
    ) as line_number,
    kind,
    charge,
    plan,
    rate_card_version,
    description,
    cast(quantity as decimal(28, 6)) as quantity,
    unit_price,
    amount,
    service_start,
    service_end,
    evidence
from all_lines
