-- 72_invoices: the invoices issued now.
--
-- in:    cycles_due, subscription_starts, rate_card_versions, invoice_lines, issued_numbers, run_parameters
-- out:   invoice_id | the columns of the published table
-- grain: one row per invoice: each due cycle has exactly one, also of 0
-- why:   numbers go on without a gap from the last one of the rate card.
with totals as (
    select
        invoice_id,
        sum(amount) as total
    from invoice_lines
    group by invoice_id
),

due as (
    select
        cycles.*,
        starts.account_id,
        starts.bill_to_account_id,
        versions.currency,
        versions.payment_days,
        'in_' || left(sha256('cycle ' || cast(cycles.cycle_start as varchar) || ' ' || cycles.subscription_id), 32)
            as invoice_id
    from cycles_due as cycles
    inner join subscription_starts as starts on cycles.subscription_id = starts.subscription_id
    inner join rate_card_versions as versions
        on cycles.rate_card = versions.rate_card and cycles.rate_card_version = versions.rate_card_version
)

select
    due.invoice_id,
    cast(
        coalesce(issued_numbers.last_number, 0)
        + row_number() over (partition by due.rate_card order by due.cycle_end, due.invoice_id) as bigint
    ) as invoice_number,
    'cycle' as kind,
    cast(null as varchar) as corrects_invoice_id,
    due.account_id,
    due.bill_to_account_id,
    due.subscription_id,
    due.rate_card,
    due.rate_card_version,
    due.currency,
    due.cycle_start,
    due.cycle_end,
    due.cycle_end as issue_date,
    run_parameters.as_of as issued_as_of,
    due.cycle_end + due.payment_days as due_date,
    cast(coalesce(totals.total, 0) as decimal(20, 4)) as total
from due
left join totals on due.invoice_id = totals.invoice_id
left join issued_numbers on due.rate_card = issued_numbers.rate_card
cross join run_parameters
