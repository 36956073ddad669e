-- 262_meters_in_force: the meters that each plan counts, by a price or towards a minimum.
--
-- in:    charges
-- out:   rate_card, rate_card_version, plan, meter | counts_values, is_seen, counts_highest
-- grain: one row per meter of a plan; counts_values where some charge counts unique values of it, is_seen where a total
--        does not tell what some charge counts, counts_highest where one takes the highest quantity
with named as (
    select
        rate_card,
        rate_card_version,
        plan,
        meter,
        aggregation
    from charges
    where kind = 'usage'
    union all
    select
        rate_card,
        rate_card_version,
        plan,
        minimum_meter as meter,
        aggregation
    from charges
    where minimum_meter is not null
)

select
    rate_card,
    rate_card_version,
    plan,
    meter,
    max(aggregation = 'unique') as counts_values,
    max(aggregation in ('latest', 'unique')) as is_seen,
    max(aggregation = 'max') as counts_highest
from named
group by rate_card, rate_card_version, plan, meter
