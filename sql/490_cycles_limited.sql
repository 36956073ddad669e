-- 490_cycles_limited: the rated cycles whose usage may reach a spending limit, or a threshold of which nobody was told.
--
-- in:    cycles_rated, rate_card_versions, alert_thresholds, alerts_before, spending_limits_judged, charges_counted,
--        charges, minimums
-- out:   subscription_id, cycle_start | rate_card, rate_card_version, ends_at, limit_default
-- grain: one row per rated cycle whose usage may reach its limit, or of an open one a threshold
-- why:   most cycles stay far below their limit, and need no order of rows; nor do open ones in the nights after an
--        alert. What usage costs at the most is told without pricing it: no charge costs more than its flats and its
--        highest unit price for all of it, and no line is rounded up by more than 1.
with limits_at_start as (
    select
        cycles.subscription_id,
        cycles.cycle_start,
        cycles.rate_card,
        cycles.rate_card_version,
        cycles.is_due,
        cycles.is_watched,
        coalesce(max(agreed.limit_amount), max(versions.spending_limit_default)) as limit_amount
    from cycles_rated as cycles
    inner join rate_card_versions as versions
        on cycles.rate_card = versions.rate_card and cycles.rate_card_version = versions.rate_card_version
    left join spending_limits_judged as agreed
        on
            cycles.subscription_id = agreed.subscription_id
            and cycles.starts_at >= agreed.agreed_at
            and agreed.verdict = 'counted'
    group by
        cycles.subscription_id,
        cycles.cycle_start,
        cycles.rate_card,
        cycles.rate_card_version,
        cycles.is_due,
        cycles.is_watched
),

limits as (
    select *
    from limits_at_start
    where limit_amount is not null
    union all
    select
        cycles.subscription_id,
        cycles.cycle_start,
        cycles.rate_card,
        cycles.rate_card_version,
        cycles.is_due,
        cycles.is_watched,
        agreed.limit_amount
    from cycles_rated as cycles
    inner join spending_limits_judged as agreed
        on
            cycles.subscription_id = agreed.subscription_id
            and cycles.starts_at < agreed.agreed_at
            and cycles.ends_at > agreed.agreed_at
            and agreed.verdict = 'counted'
),

looked_for as (
    select
        subscription_id,
        cycle_start,
        limit_amount as amount
    from limits
    where is_due
    union all
    select
        limits.subscription_id,
        limits.cycle_start,
        limits.limit_amount * least(thresholds.threshold, 1) as amount
    from limits
    inner join alert_thresholds as thresholds
        on limits.rate_card = thresholds.rate_card and limits.rate_card_version = thresholds.rate_card_version
    left join alerts_before as told
        on
            limits.subscription_id = told.subscription_id
            and limits.cycle_start = told.cycle_start
            and limits.limit_amount = told.limit_amount
            and thresholds.threshold = told.threshold
            and told.kind = 'spending_limit'
    where limits.is_watched and told.subscription_id is null
),

lowest as (
    select
        subscription_id,
        cycle_start,
        min(amount) as amount
    from looked_for
    group by subscription_id, cycle_start
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
)

select
    cycles.subscription_id,
    cycles.cycle_start,
    cycles.rate_card,
    cycles.rate_card_version,
    cycles.ends_at,
    versions.spending_limit_default as limit_default
from cycles_rated as cycles
inner join rate_card_versions as versions
    on cycles.rate_card = versions.rate_card and cycles.rate_card_version = versions.rate_card_version
inner join lowest on cycles.subscription_id = lowest.subscription_id and cycles.cycle_start = lowest.cycle_start
inner join costs on cycles.subscription_id = costs.subscription_id and cycles.cycle_start = costs.cycle_start
where costs.is_unbounded or costs.amount_max >= lowest.amount
