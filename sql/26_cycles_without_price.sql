-- 26_cycles_without_price: due cycles that no version of their rate card prices. Any row stops the run.
--
-- in:    cycles_due, subscription_starts, rate_card_versions, plans
-- out:   subscription_id, cycle_start | rate_card, rate_card_version, plan, effective_from_first, plans_known, ...
-- grain: one row per cycle that cannot be priced
with known as (
    select
        rate_card,
        rate_card_version,
        string_agg(plan, ', ' order by plan) as plans_known
    from plans
    group by rate_card, rate_card_version
),

firsts as (
    select
        rate_card,
        min(effective_from) as effective_from_first
    from rate_card_versions
    group by rate_card
)

select
    due.subscription_id,
    due.cycle_start,
    due.rate_card,
    due.rate_card_version,
    due.plan,
    firsts.effective_from_first,
    known.plans_known,
    starts.file,
    starts.row_number
from cycles_due as due
inner join subscription_starts as starts on due.subscription_id = starts.subscription_id
inner join firsts on due.rate_card = firsts.rate_card
left join known on due.rate_card = known.rate_card and due.rate_card_version = known.rate_card_version
left join plans
    on
        due.rate_card = plans.rate_card
        and due.rate_card_version = plans.rate_card_version
        and due.plan = plans.plan
where plans.plan is null
