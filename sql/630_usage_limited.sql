-- 630_usage_limited: what each cycle's usage comes to under its limit, exactly.
--
-- in:    usage_clipped, cycles_limited, limits_in_force
-- out:   subscription_id, cycle_start | amount_exact, clipped, limit_amount, amount_max
-- grain: one row per cycle with a limit
with totals as (
    select
        subscription_id,
        cycle_start,
        sum(amount) - sum(clipped) as amount_exact,
        sum(clipped) as clipped,
        max(billed_unlimited) as billed_unlimited
    from usage_clipped
    group by subscription_id, cycle_start
)

select
    limited.subscription_id,
    limited.cycle_start,
    cast(coalesce(totals.amount_exact, 0) as decimal(38, 15)) as amount_exact,
    cast(coalesce(totals.clipped, 0) as decimal(38, 15)) as clipped,
    coalesce(limits.limit_agreed, limited.limit_default) as limit_amount,
    greatest(coalesce(limits.limit_agreed, limited.limit_default), coalesce(totals.billed_unlimited, 0)) as amount_max
from cycles_limited as limited
inner join limits_in_force as limits
    on
        limited.subscription_id = limits.subscription_id
        and limited.ends_at = limits.instant
        and limits.is_cycle_end
left join totals on limited.subscription_id = totals.subscription_id and limited.cycle_start = totals.cycle_start
