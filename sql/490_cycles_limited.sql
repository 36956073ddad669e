-- 490_cycles_limited: the rated cycles whose usage may reach a spending limit, or a threshold that is watched for.
--
-- in:    cycles_rated, rate_card_versions, alert_thresholds, spending_limits_judged, charges_counted, charges, minimums
-- out:   subscription_id, cycle_start | rate_card, rate_card_version, ends_at, limit_default
-- grain: one row per rated cycle with a limit that its usage may reach
-- why:   most cycles stay far below their limit, and need no order of rows. What usage costs at the most is told
--        without pricing it: no charge costs more than its flats and its highest unit price for all of it, and no line
--        is rounded up by more than 1. The lowest limit counts, for limits only rise.
with agreed as (
    select
        cycles.subscription_id,
        cycles.cycle_start,
        max(case when limits.agreed_at <= cycles.starts_at then limits.limit_amount end) as limit_at_start,
        min(limits.limit_amount) as limit_min
    from cycles_rated as cycles
    inner join spending_limits_judged as limits
        on
            cycles.subscription_id = limits.subscription_id
            and cycles.ends_at > limits.agreed_at
            and limits.verdict = 'counted'
    group by cycles.subscription_id, cycles.cycle_start
),

thresholds as (
    select
        rate_card,
        rate_card_version,
        min(threshold) as threshold_min
    from alert_thresholds
    group by rate_card, rate_card_version
),

costs as (
    select
        counted.subscription_id,
        counted.cycle_start,
        count(charges.price_per_unit_max) < count(*) as is_unbounded,
        sum(
            1 + charges.price_flat_max
            + (counted.quantity + coalesce(minimums.shortfall, 0)) * charges.price_per_unit_max
        ) as amount_max
    from charges_counted as counted
    inner join charges
        on
            counted.rate_card = charges.rate_card
            and counted.rate_card_version = charges.rate_card_version
            and counted.plan = charges.plan
            and counted.charge = charges.charge
            and charges.kind = 'usage'
    left join minimums
        on
            counted.subscription_id = minimums.subscription_id
            and counted.cycle_start = minimums.cycle_start
            and counted.plan = minimums.plan
            and counted.charge = minimums.charge
    group by counted.subscription_id, counted.cycle_start
),

lowest as (
    select
        cycles.subscription_id,
        cycles.cycle_start,
        cycles.rate_card,
        cycles.rate_card_version,
        cycles.ends_at,
        versions.spending_limit_default as limit_default,
        coalesce(agreed.limit_at_start, versions.spending_limit_default, agreed.limit_min) as limit_min,
        case when cycles.is_watched then least(thresholds.threshold_min, 1) else 1 end as share_min
    from cycles_rated as cycles
    inner join rate_card_versions as versions
        on cycles.rate_card = versions.rate_card and cycles.rate_card_version = versions.rate_card_version
    left join thresholds
        on cycles.rate_card = thresholds.rate_card and cycles.rate_card_version = thresholds.rate_card_version
    left join agreed on cycles.subscription_id = agreed.subscription_id and cycles.cycle_start = agreed.cycle_start
)

select
    lowest.subscription_id,
    lowest.cycle_start,
    lowest.rate_card,
    lowest.rate_card_version,
    lowest.ends_at,
    lowest.limit_default
from lowest
inner join costs on lowest.subscription_id = costs.subscription_id and lowest.cycle_start = costs.cycle_start
where
    lowest.limit_min is not null
    and (costs.is_unbounded or costs.amount_max >= lowest.limit_min * lowest.share_min)
