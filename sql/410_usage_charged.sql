-- 410_usage_charged: each usage row under each charge of the plan in force that counts its meter.
--
-- in:    usage_judged, cycles_rated, charges
-- out:   subscription_id, cycle_start, plan, charge, event_id | charge_number, aggregation, occurred_at, counted, value
-- grain: one row per counted usage row and charge, in cycles that are rated now
-- why:   rows are priced by the plan in force at their own instant. Rows of quantity 0 are skipped by count and unique.
select
    usage.subscription_id,
    usage.cycle_start,
    usage.plan,
    charges.charge,
    usage.event_id,
    charges.charge_number,
    charges.aggregation,
    usage.occurred_at,
    case when charges.aggregation = 'count' then cast(1 as decimal(18, 6)) else usage.quantity end as counted,
    usage.value
from usage_judged as usage
inner join cycles_rated as cycles
    on usage.subscription_id = cycles.subscription_id and usage.cycle_start = cycles.cycle_start
inner join charges
    on
        cycles.rate_card = charges.rate_card
        and cycles.rate_card_version = charges.rate_card_version
        and usage.plan = charges.plan
        and usage.meter = charges.meter
where usage.verdict = 'counted' and (usage.quantity > 0 or charges.aggregation not in ('count', 'unique'))
