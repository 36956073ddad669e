-- minimums: in place of the stage's, what would be missing to each minimum in each scenario.
--
-- in:    main.minimums, scenarios, charges, open_cycles
-- out:   subscription_id, cycle_start, charge | the columns of the stage
-- grain: one row per scenario and charge with a minimum; subscription_id is the scenario
with used as (
    select
        scenarios.scenario,
        minimums.*,
        cast(
            case
                when coalesce(charges.minimum_meter <> scenarios.meter, true) or scenarios.rows_added = 0
                    then minimums.used
                when charges.aggregation = 'sum'
                    then minimums.used + scenarios.rows_added * scenarios.quantity_each
                when charges.aggregation = 'max' then greatest(minimums.used, scenarios.quantity_each)
                when charges.aggregation = 'latest' then scenarios.quantity_each
                else minimums.used + scenarios.rows_added
            end as decimal(18, 6)
        ) as used_then
    from main.minimums as minimums
    inner join scenarios
        on minimums.subscription_id = scenarios.subscription_id and minimums.cycle_start = scenarios.cycle_start
    inner join open_cycles as cycles
        on minimums.subscription_id = cycles.subscription_id and minimums.cycle_start = cycles.cycle_start
    inner join charges
        on
            cycles.rate_card = charges.rate_card
            and cycles.rate_card_version = charges.rate_card_version
            and minimums.plan = charges.plan
            and minimums.charge = charges.charge
)

select
    scenario as subscription_id,
    cycle_start,
    plan,
    charge,
    used_then as used,
    minimum,
    cast(greatest(minimum - used_then, 0) as decimal(18, 6)) as shortfall,
    days,
    whole_days
from used
