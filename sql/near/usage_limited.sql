-- usage_limited: in place of the stage's, what each scenario's usage would come to under its limit, exactly.
--
-- in:    scenarios, limits_left, charges_counted, prices
-- out:   subscription_id, cycle_start | amount_exact, clipped, limit_amount, amount_max
-- grain: one row per scenario with a spending limit; subscription_id is the scenario
-- why:   added rows are the last, so that what rows lost before them stays lost; see limits_left.
with charged as (
    select
        counted.subscription_id as scenario,
        sum(coalesce(whole.amount, own.amount)) as amount
    from charges_counted as counted
    inner join prices as own
        on
            counted.subscription_id = own.subscription_id
            and counted.plan = own.plan
            and counted.charge = own.charge
            and own.part = 'own'
    left join prices as whole
        on
            counted.subscription_id = whole.subscription_id
            and counted.plan = whole.plan
            and counted.charge = whole.charge
            and whole.part = 'whole'
    where counted.kind = 'usage'
    group by counted.subscription_id
),

limited as (
    select
        scenarios.scenario,
        scenarios.cycle_start,
        charged.amount,
        limits.limit_amount,
        limits.amount_max,
        least(charged.amount - limits.clipped_by_rows, limits.amount_max) as billed
    from scenarios
    inner join limits_left as limits
        on scenarios.subscription_id = limits.subscription_id and scenarios.cycle_start = limits.cycle_start
    inner join charged on scenarios.scenario = charged.scenario
)

select
    scenario as subscription_id,
    cycle_start,
    cast(billed as decimal(38, 15)) as amount_exact,
    cast(amount - billed as decimal(38, 15)) as clipped,
    limit_amount,
    amount_max
from limited
