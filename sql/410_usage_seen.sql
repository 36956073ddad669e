-- 410_usage_seen: the usage rows that no total tells, for some charge of the card counts what is latest or unique.
--
-- in:    meters_in_force, cycles_rated, usage_sums_rated, usage_plain, usage_rows_rated
-- out:   subscription_id, cycle_start, event_id | plan, meter, quantity, occurred_at, value, verdict
-- grain: one row per usage row of such a meter, in cycles rated now, that counts or is not priced
with meters as (
    select distinct
        rate_card,
        rate_card_version,
        meter
    from meters_in_force
    where is_seen
),

asked as (
    select
        cycles.subscription_id,
        cycles.cycle_start,
        meters.meter
    from cycles_rated as cycles
    inner join meters
        on cycles.rate_card = meters.rate_card and cycles.rate_card_version = meters.rate_card_version
),

sums_asked as (
    select sums.*
    from usage_sums_rated as sums
    inner join asked
        on
            sums.subscription_id = asked.subscription_id
            and sums.cycle_start = asked.cycle_start
            and sums.meter = asked.meter
)

select
    usage.subscription_id,
    sums.cycle_start,
    usage.event_id,
    sums.plan,
    usage.meter,
    usage.quantity,
    usage.occurred_at,
    usage.value,
    'counted' as verdict
from usage_plain as usage
inner join sums_asked as sums
    on
        usage.subscription_id = sums.subscription_id
        and usage.meter = sums.meter
        and usage.is_kept = sums.is_kept
        and usage.occurred_at >= sums.span_from
        and usage.occurred_at < sums.span_until
union all
select
    usage.subscription_id,
    usage.cycle_start,
    usage.event_id,
    usage.plan,
    usage.meter,
    usage.quantity,
    usage.occurred_at,
    usage.value,
    usage.verdict
from usage_rows_rated as usage
inner join asked
    on
        usage.subscription_id = asked.subscription_id
        and usage.cycle_start = asked.cycle_start
        and usage.meter = asked.meter
