-- 920_check_lines_add_up: totals that are not the sum of their lines, lines without an invoice. No row may come out.
--
-- in:    invoices, invoice_lines
-- out:   invoice_id | total, total_of_lines
-- grain: one row per fault
with added as (
    select
        invoice_id,
        sum(amount) as total_of_lines
    from invoice_lines
    group by invoice_id
)

select
    coalesce(invoices.invoice_id, added.invoice_id) as invoice_id,
    invoices.total,
    added.total_of_lines
from invoices
full outer join added on invoices.invoice_id = added.invoice_id
where invoices.invoice_id is null or invoices.total <> coalesce(added.total_of_lines, 0)
