-- 480_upgrades_due: every upgrade that takes effect at once within a cycle due now, not rounded.
--
-- in:    cycles_due, invoices_due, plan_spans, plans, charges, rate_card_versions, local_dates
-- out:   invoice_id, changed_at | upgrade_number, plan, fee_before, fee_after, days_remaining, whole_days, ...
-- grain: one row per upgrade
-- why:   page 004: (new - old) x days remaining, divided by the days in the cycle. Day 15 of 30 leaves 15 and the
--        last day none, so the day of the change is not counted. A change at exactly cycle_start is that cycle's
--        plan.
with fees as (
    select
        plans.rate_card,
        plans.rate_card_version,
        plans.plan,
        sum(case when charges.bill = 'advance' then charges.flat_price else 0 end) as fee
    from plans
    left join charges
        on
            plans.rate_card = charges.rate_card
            and plans.rate_card_version = charges.rate_card_version
            and plans.plan = charges.plan
    group by plans.rate_card, plans.rate_card_version, plans.plan
),

changes as (
    select
        invoices.invoice_id,
        cycles.cycle_end,
        cycles.whole_days,
        cycles.rate_card,
        cycles.rate_card_version,
        spans.plan_from as changed_at,
        spans.plan,
        spans.plan_before,
        local_dates.local_date as changed_on
    from cycles_due as cycles
    inner join plan_spans as spans
        on
            cycles.subscription_id = spans.subscription_id
            and cycles.starts_at < spans.plan_from
            and cycles.ends_at > spans.plan_from
    inner join invoices_due as invoices
        on
            cycles.subscription_id = invoices.subscription_id
            and cycles.cycle_start = invoices.cycle_start
            and invoices.kind = 'cycle'
    inner join local_dates on invoices.time_zone = local_dates.time_zone and spans.plan_from = local_dates.instant
    where spans.is_change_at_once
)

select
    changes.invoice_id,
    changes.changed_at,
    cast(
        row_number() over (partition by changes.invoice_id order by changes.changed_at) as varchar
    ) as upgrade_number,
    changes.changed_on,
    changes.cycle_end,
    changes.rate_card,
    changes.rate_card_version,
    changes.plan,
    changes.plan_before,
    before.fee as fee_before,
    after.fee as fee_after,
    cast(datediff('day', changes.changed_on, changes.cycle_end) - 1 as integer) as days_remaining,
    changes.whole_days
from changes
inner join fees as before
    on
        changes.rate_card = before.rate_card
        and changes.rate_card_version = before.rate_card_version
        and changes.plan_before = before.plan
inner join fees as after
    on
        changes.rate_card = after.rate_card
        and changes.rate_card_version = after.rate_card_version
        and changes.plan = after.plan
inner join rate_card_versions as versions
    on changes.rate_card = versions.rate_card and changes.rate_card_version = versions.rate_card_version
where after.fee > before.fee and after.fee - before.fee >= versions.minimum_difference
