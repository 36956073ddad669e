-- 450_openings_due: the subscriptions whose opening invoice is due.
--
-- in:    active_cycles, subscription_starts, local_dates, charges, rate_card_versions, issued_cycles, run_parameters
-- out:   subscription_id | cycle_start, cycle_end, rate_card_version, started_date, ...
-- grain: one row per subscription that starts on a plan with a fee in advance, until its opening invoice is issued
-- why:   page 004: the fee of the first cycle is generated when the app is first approved, and not due until the first
--        bill.
with plans_with_fee as (
    select distinct
        rate_card,
        rate_card_version,
        plan
    from charges
    where bill = 'advance'
)

select
    cycles.subscription_id,
    cycles.cycle_start,
    cycles.cycle_end,
    cycles.rate_card,
    cycles.rate_card_version,
    local_dates.local_date as started_date
from active_cycles as cycles
inner join subscription_starts as starts on cycles.subscription_id = starts.subscription_id
inner join local_dates on starts.time_zone = local_dates.time_zone and starts.started_at = local_dates.instant
inner join plans_with_fee
    on
        cycles.rate_card = plans_with_fee.rate_card
        and cycles.rate_card_version = plans_with_fee.rate_card_version
        and cycles.plan_first = plans_with_fee.plan
inner join rate_card_versions as versions
    on cycles.rate_card = versions.rate_card and cycles.rate_card_version = versions.rate_card_version
cross join run_parameters
left join issued_cycles as issued on cycles.subscription_id = issued.subscription_id and issued.kind = 'opening'
where
    cycles.is_first
    and issued.subscription_id is null
    and local_dates.local_date + versions.grace_days <= run_parameters.as_of
