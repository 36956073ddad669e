-- 330_cycles_rated: the cycles that are rated now: those to invoice, those to invoice again, and open ones whose
--         spending limit is watched.
--
-- in:    active_cycles, rate_card_versions, alert_thresholds, issued_cycles, invoices_touched, run_parameters
-- out:   subscription_id, cycle_start | the active cycle, is_due, is_watched, is_issued
-- grain: one row per cycle rated now
-- why:   an issued invoice that a row may make a difference to is worked out again, whole, as if it were due.
with watched as (
    select distinct
        rate_card,
        rate_card_version
    from alert_thresholds
),

judged as (
    select
        cycles.*,
        issued.subscription_id is not null as is_issued,
        touched.invoice_id is not null
        or cycles.closes_on + case when run_parameters.is_preview then 0 else versions.grace_days end
        <= run_parameters.as_of as is_due,
        watched.rate_card is not null and cycles.cycle_end > run_parameters.as_of as is_watched
    from active_cycles as cycles
    cross join run_parameters
    inner join rate_card_versions as versions
        on cycles.rate_card = versions.rate_card and cycles.rate_card_version = versions.rate_card_version
    left join watched
        on cycles.rate_card = watched.rate_card and cycles.rate_card_version = watched.rate_card_version
    left join issued_cycles as issued
        on
            cycles.subscription_id = issued.subscription_id
            and cycles.cycle_start = issued.cycle_start
            and issued.kind = 'cycle'
    left join invoices_touched as touched on issued.invoice_id = touched.invoice_id
    where issued.subscription_id is null or touched.invoice_id is not null
)

select *
from judged
where is_due or is_watched
