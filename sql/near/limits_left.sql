-- limits_left: what the usage of each open cycle comes to under its spending limit, and what is left to the limit.
--
-- in:    open_cycles, charges_counted, prices, usage_clipped, spending_limits_judged, alert_thresholds
-- out:   subscription_id, cycle_start | limit_amount, amount_max, billed, clipped, clipped_by_rows, threshold_next
-- grain: one row per open cycle with a spending limit
-- why:   as 620_usage_clipped has it, in one step: what rows have lost stays lost, and whatever comes after them is
--        billed up to the limit. Alerts go by rows alone, without what is only known at the cycle's end.
with agreed as (
    select
        cycles.subscription_id,
        cycles.cycle_start,
        max(limits.limit_amount) as limit_agreed
    from open_cycles as cycles
    inner join spending_limits_judged as limits
        on cycles.subscription_id = limits.subscription_id and cycles.ends_at > limits.agreed_at
    where limits.verdict = 'counted'
    group by cycles.subscription_id, cycles.cycle_start
),

charged as (
    select
        counted.subscription_id,
        counted.cycle_start,
        sum(coalesce(whole.amount, own.amount)) as amount,
        sum(
            case when counted.price_form <> 'volume' and counted.aggregation in ('sum', 'count') then own.amount end
        ) as amount_by_rows
    from charges_counted as counted
    inner join prices as own
        on
            counted.subscription_id = own.subscription_id
            and counted.cycle_start = own.cycle_start
            and counted.plan = own.plan
            and counted.charge = own.charge
            and own.part = 'own'
    left join prices as whole
        on
            counted.subscription_id = whole.subscription_id
            and counted.cycle_start = whole.cycle_start
            and counted.plan = whole.plan
            and counted.charge = whole.charge
            and whole.part = 'whole'
    where counted.kind = 'usage'
    group by counted.subscription_id, counted.cycle_start
),

clipped as (
    select
        subscription_id,
        cycle_start,
        max(case when phase = 0 then clipped_so_far end) as clipped_by_rows,
        max(billed_unlimited) as billed_unlimited
    from usage_clipped
    group by subscription_id, cycle_start
),

limited as (
    select
        cycles.subscription_id,
        cycles.cycle_start,
        cycles.rate_card,
        cycles.rate_card_version,
        charged.amount,
        coalesce(clipped.clipped_by_rows, 0) as clipped_by_rows,
        coalesce(charged.amount_by_rows, 0) - coalesce(clipped.clipped_by_rows, 0) as billed_by_rows,
        coalesce(agreed.limit_agreed, cycles.spending_limit_default) as limit_amount,
        greatest(
            coalesce(agreed.limit_agreed, cycles.spending_limit_default), coalesce(clipped.billed_unlimited, 0)
        ) as amount_max
    from open_cycles as cycles
    inner join charged on cycles.subscription_id = charged.subscription_id and cycles.cycle_start = charged.cycle_start
    left join agreed on cycles.subscription_id = agreed.subscription_id and cycles.cycle_start = agreed.cycle_start
    left join clipped on cycles.subscription_id = clipped.subscription_id and cycles.cycle_start = clipped.cycle_start
    where coalesce(agreed.limit_agreed, cycles.spending_limit_default) is not null
),

thresholds_next as (
    select
        limited.subscription_id,
        limited.cycle_start,
        min(thresholds.threshold) as threshold_next
    from limited
    inner join alert_thresholds as thresholds
        on limited.rate_card = thresholds.rate_card and limited.rate_card_version = thresholds.rate_card_version
    where thresholds.threshold <= 1 and thresholds.threshold * limited.limit_amount > limited.billed_by_rows
    group by limited.subscription_id, limited.cycle_start
)

select
    limited.subscription_id,
    limited.cycle_start,
    limited.limit_amount,
    limited.amount_max,
    limited.clipped_by_rows,
    cast(least(limited.amount - limited.clipped_by_rows, limited.amount_max) as decimal(38, 15)) as billed,
    cast(
        limited.amount - least(limited.amount - limited.clipped_by_rows, limited.amount_max) as decimal(38, 15)
    ) as clipped,
    thresholds_next.threshold_next
from limited
left join thresholds_next
    on limited.subscription_id = thresholds_next.subscription_id and limited.cycle_start = thresholds_next.cycle_start
