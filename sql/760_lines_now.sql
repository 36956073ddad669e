-- 760_lines_now: what each touched invoice's lines come to now, by what they bill.
--
-- in:    rated_lines, invoices_due
-- out:   invoice_id, kind, charge, plan, fee_from | quantity, amount, unit_price, service_start, service_end, ...
-- grain: one row per kind, charge and plan of a touched invoice; of fees also per cycle that they are for
select
    lines.invoice_id,
    lines.kind,
    lines.charge,
    lines.plan,
    case when lines.kind = 'recurring' then cast(lines.service_start as varchar) else '' end as fee_from,
    max(lines.rate_card_version) as rate_card_version,
    max(lines.description) as description,
    cast(sum(lines.quantity) as decimal(28, 6)) as quantity,
    cast(sum(lines.amount) as decimal(20, 4)) as amount,
    case
        when count(lines.unit_price) = count(*) and min(lines.unit_price) = max(lines.unit_price)
            then min(lines.unit_price)
    end as unit_price,
    min(lines.service_start) as service_start,
    max(lines.service_end) as service_end
from rated_lines as lines
inner join invoices_due as invoices on lines.invoice_id = invoices.invoice_id and invoices.is_issued
group by 1, 2, 3, 4, 5
