-- 780_line_differences: where a touched invoice's lines come to something else than it has said so far.
--
-- in:    lines_now, lines_issued
-- out:   invoice_id, kind, charge, plan, fee_from | quantity, amount, quantity_issued, amount_issued, unit_price, ...
-- grain: as of lines_now, where quantity or amount differ; a line that is new counts from 0, one that is gone to 0
with paired as (
    select
        coalesce(lines_now.invoice_id, issued.invoice_id) as invoice_id,
        coalesce(lines_now.kind, issued.kind) as kind,
        coalesce(lines_now.charge, issued.charge) as charge,
        coalesce(lines_now.plan, issued.plan) as plan,
        coalesce(lines_now.fee_from, issued.fee_from) as fee_from,
        coalesce(lines_now.rate_card_version, issued.rate_card_version) as rate_card_version,
        coalesce(lines_now.description, issued.description) as description,
        coalesce(lines_now.quantity, 0) as quantity_now,
        coalesce(lines_now.amount, 0) as amount_now,
        coalesce(issued.quantity, 0) as quantity_issued,
        coalesce(issued.amount, 0) as amount_issued,
        case
            when lines_now.invoice_id is null then issued.unit_price
            when issued.invoice_id is null or lines_now.unit_price = issued.unit_price then lines_now.unit_price
        end as unit_price,
        coalesce(lines_now.service_start, issued.service_start) as service_start,
        coalesce(lines_now.service_end, issued.service_end) as service_end
    from lines_now
    full outer join lines_issued as issued
        on
            lines_now.invoice_id = issued.invoice_id
            and lines_now.kind = issued.kind
            and lines_now.charge = issued.charge
            and lines_now.plan = issued.plan
            and lines_now.fee_from = issued.fee_from
)

select
    *,
    cast(quantity_now - quantity_issued as decimal(28, 6)) as quantity,
    cast(amount_now - amount_issued as decimal(20, 4)) as amount
from paired
where quantity_now <> quantity_issued or amount_now <> amount_issued
