-- charges_counted: in place of the stage's, what each charge would have counted in each scenario.
--
-- in:    main.charges_counted, scenarios
-- out:   subscription_id, cycle_start, plan, charge | the columns of the stage
-- grain: one row per scenario and charge of its cycle; subscription_id is the scenario
-- why:   a row counts for every charge of the plan in force that has its meter, by the charge's own aggregation.
select
    counted.* replace (
        scenarios.scenario as subscription_id,
        cast(
            case
                when not counted.is_plan_at_end then counted.quantity
                when counted.kind = 'peak' and counted.category = scenarios.category
                    then counted.quantity + scenarios.carts_added
                when counted.kind = 'peak' or counted.meter <> scenarios.meter or scenarios.rows_added = 0
                    then counted.quantity
                when counted.aggregation = 'sum'
                    then counted.quantity + scenarios.rows_added * scenarios.quantity_each
                when counted.aggregation = 'max' then greatest(counted.quantity, scenarios.quantity_each)
                when counted.aggregation = 'latest' then scenarios.quantity_each
                when scenarios.meter is not null then counted.quantity + scenarios.rows_added
                else counted.quantity
            end as decimal(18, 6)
        ) as quantity
    )
from main.charges_counted as counted
inner join scenarios
    on counted.subscription_id = scenarios.subscription_id and counted.cycle_start = scenarios.cycle_start
