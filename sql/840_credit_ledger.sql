-- 840_credit_ledger: what is added to the ledger of prepaid credit now.
--
-- in:    invoices, rate_card_versions, credit_topups_judged, local_dates, credit_ledger_before, run_parameters
-- out:   account_id, currency, kind, reference | the columns of the published table
-- grain: one row per entry
-- why:   the ledger is only added to: an entry keeps its date and follows in posted_as_of, the balance runs in the
--        order of posting. Invoices are deducted on the last day of their cycle (page 003), and so are their
--        corrections. A top-up that is revised or voided once it is posted adds the difference to what was posted; one
--        that has to wait again stays as it is.
with bought as (
    select
        topups.account_id,
        topups.currency,
        local_dates.local_date as entry_date,
        topups.topup_id as reference,
        topups.amount
    from credit_topups_judged as topups
    inner join local_dates
        on topups.time_zone = local_dates.time_zone and topups.purchased_at = local_dates.instant
    cross join run_parameters
    where topups.verdict = 'counted' and local_dates.local_date <= run_parameters.as_of
),

settled as (
    select distinct topup_id
    from credit_topups_judged
    where verdict in ('counted', 'voided')
),

topups as (
    select
        account_id,
        currency,
        entry_date,
        reference,
        amount,
        0 as posted
    from bought
    union all
    select
        before.account_id,
        before.currency,
        before.entry_date,
        before.reference,
        -before.amount as amount,
        1 as posted
    from credit_ledger_before as before
    inner join settled on before.reference = settled.topup_id
    where before.kind = 'topup'
),

entries as (
    select
        invoices.bill_to_account_id as account_id,
        invoices.currency,
        invoices.cycle_end - 1 as entry_date,
        'invoice' as kind,
        2 as place,
        invoices.invoice_id as reference,
        -invoices.total as amount
    from invoices
    inner join rate_card_versions as versions
        on
            invoices.rate_card = versions.rate_card
            and invoices.rate_card_version = versions.rate_card_version
            and versions.settlement = 'prepaid_credits'
    union all
    select
        account_id,
        currency,
        min(entry_date) as entry_date,
        'topup' as kind,
        1 as place,
        reference,
        sum(amount) as amount
    from topups
    group by account_id, currency, reference
    having sum(amount) <> 0 or max(posted) = 0
),

balances as (
    select
        account_id,
        currency,
        sum(amount) as balance
    from credit_ledger_before
    group by account_id, currency
),

running as (
    select
        entries.*,
        coalesce(balances.balance, 0) + sum(entries.amount) over (
            partition by entries.account_id, entries.currency
            order by entries.entry_date, entries.place, entries.reference
            rows between unbounded preceding and current row
        ) as balance
    from entries
    left join balances on entries.account_id = balances.account_id and entries.currency = balances.currency
)

select
    running.account_id,
    running.currency,
    running.entry_date,
    run_parameters.as_of as posted_as_of,
    running.kind,
    running.reference,
    cast(running.amount as decimal(20, 4)) as amount,
    cast(running.balance as decimal(20, 4)) as balance
from running
cross join run_parameters
