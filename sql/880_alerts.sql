-- 880_alerts: what this run has to tell: spending limits nearly or wholly reached, credit that ran out.
--
-- in:    limit_alerts, credit_ledger, invoices, subscription_starts, rate_card_versions, run_parameters
-- out:   subscription_id, cycle_start, kind, limit_amount, threshold, invoice_id | the columns of the published table
-- grain: one row per alert
-- why:   credit is exhausted by the entry that takes the balance from 0 or above to below 0.
select
    run_parameters.run_id,
    starts.account_id,
    alerts.subscription_id,
    alerts.cycle_start,
    'spending_limit' as kind,
    alerts.threshold,
    alerts.limit_amount,
    alerts.reached_at,
    alerts.event_id,
    versions.currency,
    cast(null as varchar) as invoice_id
from limit_alerts as alerts
inner join subscription_starts as starts on alerts.subscription_id = starts.subscription_id
inner join (select distinct
    rate_card,
    currency
from rate_card_versions) as versions
    on starts.rate_card = versions.rate_card
cross join run_parameters
union all
select
    run_parameters.run_id,
    ledger.account_id,
    invoices.subscription_id,
    invoices.cycle_start,
    'credit_exhausted' as kind,
    cast(null as decimal(8, 6)) as threshold,
    cast(null as decimal(20, 4)) as limit_amount,
    cast(null as timestamptz) as reached_at,
    cast(null as varchar) as event_id,
    ledger.currency,
    invoices.invoice_id
from credit_ledger as ledger
inner join invoices on ledger.reference = invoices.invoice_id
cross join run_parameters
where ledger.kind = 'invoice' and ledger.balance < 0 and ledger.balance - ledger.amount >= 0
