-- 240_plan_spans: which plan each subscription is on.
--
-- in:    subscriptions_judged, subscription_starts, active_spans, billing_cycles, rate_card_versions
-- out:   subscription_id, plan_from | plan, plan_until, plan_before, is_change_at_once
-- grain: one row per unbroken span on one plan; plan_until is empty while it lasts
-- why:   a change takes effect at once or at the next cycle_start; one that waits falls away when a later statement
--        comes before its time, or when the subscription is not active then (reactivation brings its own plan).
with card_defaults as (
    select
        rate_card,
        rate_card_version,
        plan_change_takes_effect
    from rate_card_versions
),

statements as (
    select
        r.subscription_id,
        r.effective_at,
        r.plan,
        r.event,
        case
            when r.event <> 'plan_changed' then 'immediately'
            else coalesce(r.takes_effect, card_defaults.plan_change_takes_effect, 'immediately')
        end as takes_effect,
        case when cycles.starts_at = r.effective_at then cycles.starts_at else cycles.ends_at end as next_cycle_at
    from subscriptions_judged as r
    inner join subscription_starts as starts on r.subscription_id = starts.subscription_id
    inner join active_spans as spans
        on
            r.subscription_id = spans.subscription_id
            and r.effective_at >= spans.active_from
            and (spans.active_until is null or r.effective_at < spans.active_until)
    left join billing_cycles as cycles
        on
            r.subscription_id = cycles.subscription_id
            and r.effective_at >= cycles.starts_at
            and r.effective_at < cycles.ends_at
    left join card_defaults
        on
            starts.rate_card = card_defaults.rate_card
            and cycles.rate_card_version = card_defaults.rate_card_version
    where
        r.verdict = 'counted'
        and (
            r.event = 'plan_changed'
            or r.effective_at = spans.active_from
        )
),

timed as (
    select
        *,
        case when takes_effect = 'next_cycle' then next_cycle_at else effective_at end as in_force_at,
        lead(effective_at) over (partition by subscription_id order by effective_at) as next_statement_at
    from statements
),

lasting as (
    select
        timed.subscription_id,
        timed.in_force_at,
        timed.plan,
        timed.event = 'plan_changed' and timed.takes_effect = 'immediately' as is_change_at_once,
        row_number() over (
            partition by timed.subscription_id, timed.in_force_at order by timed.effective_at desc
        ) as age
    from timed
    inner join active_spans as spans
        on
            timed.subscription_id = spans.subscription_id
            and timed.in_force_at >= spans.active_from
            and (spans.active_until is null or timed.in_force_at < spans.active_until)
    where timed.next_statement_at is null or timed.next_statement_at >= timed.in_force_at
),

compared as (
    select
        *,
        lag(plan) over (partition by subscription_id order by in_force_at) as plan_before
    from lasting
    where age = 1
)

select
    subscription_id,
    plan,
    in_force_at as plan_from,
    lead(in_force_at) over (partition by subscription_id order by in_force_at) as plan_until,
    plan_before,
    is_change_at_once
from compared
where plan_before is null or plan <> plan_before
