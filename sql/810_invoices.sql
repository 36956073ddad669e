-- 810_invoices: the invoices issued now.
--
-- in:    invoices_due, invoices_decided, invoices_before, rate_card_versions, issued_numbers, run_parameters
-- out:   invoice_id | the columns of the published table
-- grain: one row per invoice, also of 0
-- why:   numbers go on without a gap from the last one of the rate card. A correction goes to whoever paid what it
--        corrects, and is dated the day it is issued.
with issued_now as (
    select
        due.invoice_id,
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
        due.due_date,
        decided.total
    from invoices_due as due
    inner join invoices_decided as decided
        on due.invoice_id = decided.invoice_id and decided.kind <> 'correction' and decided.reason is null
    union all
    select
        decided.issued_as as invoice_id,
        'correction' as kind,
        decided.invoice_id as corrects_invoice_id,
        before.account_id,
        before.bill_to_account_id,
        before.subscription_id,
        before.rate_card,
        before.rate_card_version,
        before.currency,
        before.cycle_start,
        before.cycle_end,
        run_parameters.as_of as issue_date,
        run_parameters.as_of + versions.payment_days as due_date,
        decided.total
    from invoices_decided as decided
    inner join invoices_before as before on decided.invoice_id = before.invoice_id
    inner join rate_card_versions as versions
        on before.rate_card = versions.rate_card and before.rate_card_version = versions.rate_card_version
    cross join run_parameters
    where decided.kind = 'correction' and decided.reason is null
)

select
    due.invoice_id,
    cast(
        coalesce(issued_numbers.last_number, 0)
        + row_number() over (partition by due.rate_card order by due.issue_date, due.invoice_id) as bigint
    ) as invoice_number,
    due.kind,
    due.corrects_invoice_id,
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
    due.total
from issued_now as due
left join issued_numbers on due.rate_card = issued_numbers.rate_card
cross join run_parameters
