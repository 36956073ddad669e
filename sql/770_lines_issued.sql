-- 770_lines_issued: what each touched invoice has said so far, together with its corrections.
--
-- in:    invoices_touched, invoices_before, invoice_lines_before
-- out:   invoice_id, kind, charge, plan, fee_from | quantity, amount, unit_price, service_start, service_end, ...
-- grain: as of lines_now
with said as (
    select
        touched.invoice_id,
        invoices.invoice_id as said_by,
        invoices.kind
    from invoices_touched as touched
    inner join invoices_before as invoices
        on touched.invoice_id = coalesce(invoices.corrects_invoice_id, invoices.invoice_id)
)

select
    said.invoice_id,
    lines.kind,
    lines.charge,
    lines.plan,
    case when lines.kind = 'recurring' then cast(lines.service_start as varchar) else '' end as fee_from,
    max(lines.rate_card_version) as rate_card_version,
    coalesce(
        max(case when said.kind <> 'correction' then lines.description end), max(lines.description)
    ) as description,
    cast(sum(lines.quantity) as decimal(28, 6)) as quantity,
    cast(sum(lines.amount) as decimal(20, 4)) as amount,
    case
        when count(lines.unit_price) = count(*) and min(lines.unit_price) = max(lines.unit_price)
            then min(lines.unit_price)
    end as unit_price,
    min(lines.service_start) as service_start,
    max(lines.service_end) as service_end
from said
inner join invoice_lines_before as lines on said.said_by = lines.invoice_id
group by 1, 2, 3, 4, 5
