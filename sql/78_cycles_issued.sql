-- 78_cycles_issued: what the invoices issued now rest on; kept, so that later rows cannot move an invoiced cycle.
--
-- in:    cycles_due, subscription_starts, invoices_due, fees_due, run_parameters
-- out:   subscription_id, cycle_start | cycle_end, starts_at, ends_at, rate_card, rate_card_version, the start's facts
-- grain: one row per cycle invoiced now
with carried as (
    select
        invoices.subscription_id,
        invoices.cycle_start,
        max(fees.cycle_start) as fee_carried_for
    from invoices_due as invoices
    inner join fees_due as fees on invoices.invoice_id = fees.invoice_id and fees.bill = 'advance'
    where invoices.kind = 'cycle' and fees.cycle_start > invoices.cycle_start
    group by invoices.subscription_id, invoices.cycle_start
)

select
    cycles.subscription_id,
    cycles.cycle_start,
    cycles.cycle_end,
    cycles.starts_at,
    cycles.ends_at,
    cycles.rate_card,
    cycles.rate_card_version,
    run_parameters.run_number as issued_in_run,
    starts.started_at,
    starts.account_id,
    starts.time_zone,
    starts.card_time_zone,
    starts.account_created_at,
    starts.account_updated_at,
    starts.account_revision,
    carried.fee_carried_for
from cycles_due as cycles
inner join subscription_starts as starts on cycles.subscription_id = starts.subscription_id
left join carried on cycles.subscription_id = carried.subscription_id and cycles.cycle_start = carried.cycle_start
cross join run_parameters
