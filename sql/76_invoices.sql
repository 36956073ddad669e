-- 76_invoices: the invoices issued now.
--
-- in:    invoices_due, invoice_lines, issued_numbers, run_parameters
-- out:   invoice_id | the columns of the published table
-- grain: one row per invoice, also of 0
-- why:   numbers go on without a gap from the last one of the rate card.
with totals as (
    select
        invoice_id,
        sum(amount) as total
    from invoice_lines
    group by invoice_id
)

select
    due.invoice_id,
    cast(
        coalesce(issued_numbers.last_number, 0)
        + row_number() over (partition by due.rate_card order by due.issue_date, due.invoice_id) as bigint
    ) as invoice_number,
    due.kind,
    cast(null as varchar) as corrects_invoice_id,
    due.account_id,
    due.bill_to_account_id,
    due.subscription_id,
    due.rate_card,
    due.rate_card_version,
    due.currency,
    due.cycle_start,
    due.cycle_end,
    due.issue_date,
    run_parameters.as_of as issued_as_of,
    due.due_date,
    cast(coalesce(totals.total, 0) as decimal(20, 4)) as total
from invoices_due as due
left join totals on due.invoice_id = totals.invoice_id
left join issued_numbers on due.rate_card = issued_numbers.rate_card
cross join run_parameters
