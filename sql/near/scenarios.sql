-- scenarios: for each bound within reach, three bills to compare: as it is, with the bound reached, and one unit above.
--
-- in:    near_bounds
-- out:   scenario | bound_number, step, rows_added, quantity_each, carts_added
-- grain: one row per bound and step
-- why:   what is summed grows by one row of that many units, a count by as many rows of 1, unique values by as many
--        new ones. Of max and latest it is one row with the whole quantity. Added rows are the last of the cycle.
with steps as (
    select unnest(['as_is', 'reached', 'crossed']) as step
),

units as (
    select
        bounds.*,
        steps.step,
        cast(
            case steps.step
                when 'as_is' then 0
                when 'reached' then bounds.units_to_bound
                else bounds.units_to_bound + 1
            end as decimal(18, 6)
        ) as units
    from near_bounds as bounds
    cross join steps
)

select
    cast(bound_number as varchar) || ' ' || step as scenario,
    bound_number,
    step,
    subscription_id,
    cycle_start,
    case when charge_kind = 'usage' then meter end as meter,
    case when charge_kind = 'peak' then category end as category,
    cast(
        case
            when charge_kind = 'peak' or units = 0 then 0
            when aggregation in ('count', 'unique') then units
            else 1
        end as decimal(18, 0)
    ) as rows_added,
    cast(
        case
            when charge_kind = 'peak' or units = 0 then 0
            when aggregation in ('count', 'unique') then 1
            when aggregation in ('max', 'latest') then quantity_counted + units
            else units
        end as decimal(18, 6)
    ) as quantity_each,
    case when charge_kind = 'peak' then units else 0 end as carts_added
from units
