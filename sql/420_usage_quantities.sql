-- 420_usage_quantities: how much each usage charge counted in each cycle, under each plan.
--
-- in:    usage_charged
-- out:   subscription_id, cycle_start, plan, charge | charge_number, quantity
-- grain: one row per cycle, plan and usage charge with a counted row
select
    subscription_id,
    cycle_start,
    plan,
    charge,
    min(charge_number) as charge_number,
    cast(
        case min(aggregation)
            when 'max' then max(counted)
            when 'latest'
                then
                    max_by(counted, case when aggregation = 'latest' then struct_pack(occurred_at, event_id) end)
            when 'unique' then count(distinct value)
            else sum(counted)
        end as decimal(18, 6)
    ) as quantity
from usage_charged
group by subscription_id, cycle_start, plan, charge
