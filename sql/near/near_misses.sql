-- near_misses: every bound within reach, what reaching and crossing it would change, and upgrades near the smallest.
--
-- in:    near_bounds, lines, limit_lines, limits_left, near_parameters, upgrades_due, rounded_figures,
--        main.invoices_due, main.rate_card_versions
-- out:   kind, subscription_id, cycle_start, plan, charge, changed_at | bound, so_far, to_bound, share, ...
-- grain: one row per bound and charge, and per upgrade of an open cycle whose difference is near the smallest
-- why:   nearest first: share is what is left as a share of the bound, in millionths, whole numbers all through.
with amounts as (
    select
        invoice_id as scenario,
        amount
    from lines
    where kind in ('peak', 'usage', 'minimum', 'cap')
    union all
    select
        invoice_id as scenario,
        amount
    from limit_lines
),

bills as (
    select
        scenario,
        sum(amount) as amount
    from amounts
    group by scenario
),

crossings as (
    select
        bounds.bound_number,
        cast(coalesce(reached.amount, 0) - coalesce(as_is.amount, 0) as decimal(20, 4)) as change_to_bound,
        cast(coalesce(crossed.amount, 0) - coalesce(as_is.amount, 0) as decimal(20, 4)) as change,
        cast(coalesce(crossed.amount, 0) - coalesce(reached.amount, 0) as decimal(20, 4)) as next_unit
    from near_bounds as bounds
    left join bills as as_is on cast(bounds.bound_number as varchar) || ' as_is' = as_is.scenario
    left join bills as reached on cast(bounds.bound_number as varchar) || ' reached' = reached.scenario
    left join bills as crossed on cast(bounds.bound_number as varchar) || ' crossed' = crossed.scenario
),

found as (
    select
        bounds.kind,
        bounds.account_id,
        bounds.subscription_id,
        bounds.cycle_start,
        bounds.cycle_end,
        bounds.rate_card,
        bounds.plan,
        bounds.charge,
        coalesce(bounds.category, bounds.meter) as counted_by,
        bounds.aggregation,
        case when bounds.kind in ('tier', 'minimum') then bounds.price_form end as price_form,
        bounds.currency,
        bounds.minor_digits,
        bounds.bound,
        bounds.so_far,
        bounds.to_bound,
        bounds.reach_of,
        cast(bounds.units_to_bound + 1 as decimal(28, 6)) as units_to_cross,
        crossings.change_to_bound,
        crossings.change,
        crossings.next_unit,
        bounds.price_next,
        case when bounds.kind in ('minimum', 'cap') then bounds.charge_amount end as charge_amount,
        case when bounds.kind = 'limit' then limits.clipped end as clipped,
        case when bounds.kind = 'limit' then limits.threshold_next end as threshold_next,
        cast(null as varchar) as plan_before,
        cast(null as timestamptz) as changed_at
    from near_bounds as bounds
    inner join crossings on bounds.bound_number = crossings.bound_number
    left join limits_left as limits
        on bounds.subscription_id = limits.subscription_id and bounds.cycle_start = limits.cycle_start
    union all
    select
        'upgrade' as kind,
        invoices.account_id,
        invoices.subscription_id,
        invoices.cycle_start,
        invoices.cycle_end,
        upgrades.rate_card,
        upgrades.plan,
        upgrades.plan as charge,
        null as counted_by,
        null as aggregation,
        null as price_form,
        invoices.currency,
        invoices.minor_digits,
        versions.minimum_difference as bound,
        cast(upgrades.fee_after - upgrades.fee_before as decimal(38, 15)) as so_far,
        cast(versions.minimum_difference - (upgrades.fee_after - upgrades.fee_before) as decimal(38, 15)) as to_bound,
        versions.minimum_difference as reach_of,
        null as units_to_cross,
        null as change_to_bound,
        case
            when upgrades.fee_after - upgrades.fee_before < versions.minimum_difference then figures.amount
            else -figures.amount
        end as change,
        null as next_unit,
        null as price_next,
        case
            when upgrades.fee_after - upgrades.fee_before < versions.minimum_difference then 0 else figures.amount
        end as charge_amount,
        null as clipped,
        null as threshold_next,
        upgrades.plan_before,
        upgrades.changed_at
    from upgrades_due as upgrades
    inner join main.invoices_due as invoices on upgrades.invoice_id = invoices.invoice_id and not invoices.is_issued
    inner join main.rate_card_versions as versions
        on upgrades.rate_card = versions.rate_card and upgrades.rate_card_version = versions.rate_card_version
    inner join rounded_figures as figures
        on
            upgrades.invoice_id = figures.invoice_id
            and upgrades.upgrade_number = figures.stands_for
            and figures.figure = 'upgrade'
    cross join near_parameters
    where
        versions.minimum_difference > 0
        and abs(upgrades.fee_after - upgrades.fee_before - versions.minimum_difference)
        <= near_parameters.within * versions.minimum_difference
)

select
    * exclude (reach_of),
    cast(
        case
            when reach_of = 0 then 0
            else cast(abs(to_bound) * 1000000 as hugeint) * 1000000 // cast(reach_of * 1000000 as hugeint)
        end as bigint
    ) as share_in_millionths
from found
order by share_in_millionths, kind, subscription_id, cycle_start, plan, charge, changed_at
