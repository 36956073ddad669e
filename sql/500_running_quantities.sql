-- 500_running_quantities: what each usage charge had counted after each row, where a spending limit may bite.
--
-- in:    usage_sums_rated, usage_plain, usage_rows_rated, cycles_limited, charges
-- out:   subscription_id, cycle_start, plan, charge, event_id | occurred_at, charge_number, quantity, price_form, ...
-- grain: one row per counted usage row and charge whose price grows row by row, in cycles with a limit
-- why:   volume prices and max, latest and unique are known at the cycle's end only.
with asked as (
    select
        limited.subscription_id,
        limited.cycle_start,
        limited.rate_card,
        limited.rate_card_version,
        charges.plan,
        charges.meter,
        charges.charge,
        charges.charge_number,
        charges.aggregation,
        charges.price_form,
        charges.unit_price,
        charges.package_size,
        charges.cap
    from cycles_limited as limited
    inner join charges
        on limited.rate_card = charges.rate_card and limited.rate_card_version = charges.rate_card_version
    where charges.kind = 'usage' and charges.aggregation in ('sum', 'count') and charges.price_form <> 'volume'
),

spans_asked as (
    select
        asked.*,
        sums.is_kept,
        sums.span_from,
        sums.span_until
    from asked
    inner join usage_sums_rated as sums
        on
            asked.subscription_id = sums.subscription_id
            and asked.cycle_start = sums.cycle_start
            and asked.plan = sums.plan
            and asked.meter = sums.meter
),

charged as (
    select
        spans_asked.subscription_id,
        spans_asked.cycle_start,
        spans_asked.rate_card,
        spans_asked.rate_card_version,
        spans_asked.plan,
        spans_asked.charge,
        spans_asked.charge_number,
        spans_asked.aggregation,
        spans_asked.price_form,
        spans_asked.unit_price,
        spans_asked.package_size,
        spans_asked.cap,
        usage.event_id,
        usage.occurred_at,
        usage.quantity
    from usage_plain as usage
    inner join spans_asked
        on
            usage.subscription_id = spans_asked.subscription_id
            and usage.meter = spans_asked.meter
            and usage.is_kept = spans_asked.is_kept
            and usage.occurred_at >= spans_asked.span_from
            and usage.occurred_at < spans_asked.span_until
    union all
    select
        asked.subscription_id,
        asked.cycle_start,
        asked.rate_card,
        asked.rate_card_version,
        asked.plan,
        asked.charge,
        asked.charge_number,
        asked.aggregation,
        asked.price_form,
        asked.unit_price,
        asked.package_size,
        asked.cap,
        usage.event_id,
        usage.occurred_at,
        usage.quantity
    from usage_rows_rated as usage
    inner join asked
        on
            usage.subscription_id = asked.subscription_id
            and usage.cycle_start = asked.cycle_start
            and usage.plan = asked.plan
            and usage.meter = asked.meter
    where usage.verdict = 'counted'
)

select
    subscription_id,
    cycle_start,
    rate_card,
    rate_card_version,
    plan,
    charge,
    event_id,
    occurred_at,
    charge_number,
    price_form,
    unit_price,
    package_size,
    cap,
    cast(
        sum(case when aggregation = 'count' then 1 else quantity end) over (
            partition by subscription_id, cycle_start, plan, charge
            order by occurred_at, event_id
            rows between unbounded preceding and current row
        ) as decimal(18, 6)
    ) as quantity
from charged
where quantity > 0 or aggregation = 'sum'
