-- 910_check_one_invoice_a_cycle: active cycles that are due and have not exactly one invoice, issued or held. No row
--         may come out.
--
-- in:    active_segments, billing_cycles, subscription_starts, rate_card_versions, issued_cycles, invoices,
--        held_invoices, run_parameters
-- out:   subscription_id, cycle_start | invoices
-- grain: one row per fault
with owed as (
    select distinct
        cycles.subscription_id,
        cycles.cycle_start
    from active_segments as segments
    inner join billing_cycles as cycles
        on segments.subscription_id = cycles.subscription_id and segments.cycle_start = cycles.cycle_start
    inner join subscription_starts as starts on cycles.subscription_id = starts.subscription_id
    inner join rate_card_versions as versions
        on starts.rate_card = versions.rate_card and cycles.rate_card_version = versions.rate_card_version
    cross join run_parameters
    where cycles.cycle_end + versions.grace_days <= run_parameters.as_of
),

issued as (
    select
        subscription_id,
        cycle_start
    from invoices
    where kind = 'cycle'
    union all
    select
        subscription_id,
        cycle_start
    from issued_cycles
    where kind = 'cycle'
    union all
    select
        subscription_id,
        cycle_start
    from held_invoices
    where kind = 'cycle'
)

select
    coalesce(owed.subscription_id, issued.subscription_id) as subscription_id,
    coalesce(owed.cycle_start, issued.cycle_start) as cycle_start,
    count(issued.subscription_id) as invoices
from owed
full outer join issued
    on owed.subscription_id = issued.subscription_id and owed.cycle_start = issued.cycle_start
group by 1, 2
having count(issued.subscription_id) > 1 or count(owed.subscription_id) > count(issued.subscription_id)
