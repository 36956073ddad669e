-- 830_cycles_issued: what the invoices issued now rest on; kept, so that later rows cannot move an invoiced cycle.
--
-- in:    invoices_due, invoices_decided, active_cycles, subscription_starts, run_parameters
-- out:   invoice_id | kind, subscription_id, cycle_start, cycle_end, starts_at, ends_at, rate_card, rate_card_version,
--        the start's facts
-- grain: one row per invoice of kind opening or cycle issued now
select
    invoices.invoice_id,
    invoices.kind,
    invoices.subscription_id,
    invoices.cycle_start,
    invoices.cycle_end,
    cycles.starts_at,
    cycles.ends_at,
    invoices.rate_card,
    invoices.rate_card_version,
    run_parameters.run_number as issued_in_run,
    starts.started_at,
    starts.account_id,
    starts.time_zone,
    starts.card_time_zone,
    starts.account_created_at,
    starts.account_updated_at,
    starts.account_revision
from invoices_due as invoices
inner join invoices_decided as decided
    on invoices.invoice_id = decided.invoice_id and decided.kind <> 'correction' and decided.reason is null
inner join active_cycles as cycles
    on invoices.subscription_id = cycles.subscription_id and invoices.cycle_start = cycles.cycle_start
inner join subscription_starts as starts on invoices.subscription_id = starts.subscription_id
cross join run_parameters
