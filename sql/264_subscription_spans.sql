-- 264_subscription_spans: the spans over which a subscription's cycle, plan and activity stay what they are.
--
-- in:    subscription_starts, billing_cycles, active_spans, plan_spans
-- out:   subscription_id, span_from | span_until, rate_card, rate_card_version, cycle_start, plan, is_active
-- grain: one row per span; those of a subscription tile all time
-- why:   each instant lies in exactly one, so that one comparison tells all that is to be known of it.
with edges as (
    select
        subscription_id,
        cast('0001-01-01 00:00:00+00' as timestamptz) as span_from
    from subscription_starts
    union
    select
        subscription_id,
        starts_at as span_from
    from billing_cycles
    union
    select
        subscription_id,
        ends_at as span_from
    from billing_cycles
    union
    select
        subscription_id,
        active_from as span_from
    from active_spans
    union
    select
        subscription_id,
        active_until as span_from
    from active_spans
    where active_until is not null
    union
    select
        subscription_id,
        plan_from as span_from
    from plan_spans
),

spans as (
    select
        subscription_id,
        span_from,
        coalesce(
            lead(span_from) over (partition by subscription_id order by span_from),
            cast('9999-12-31 00:00:00+00' as timestamptz)
        ) as span_until
    from edges
)

select
    spans.subscription_id,
    spans.span_from,
    spans.span_until,
    starts.rate_card,
    cycles.rate_card_version,
    cycles.cycle_start,
    plans.plan,
    active.active_from is not null as is_active
from spans
inner join subscription_starts as starts on spans.subscription_id = starts.subscription_id
left join billing_cycles as cycles
    on
        spans.subscription_id = cycles.subscription_id
        and spans.span_from >= cycles.starts_at
        and spans.span_from < cycles.ends_at
left join active_spans as active
    on
        spans.subscription_id = active.subscription_id
        and spans.span_from >= active.active_from
        and (active.active_until is null or spans.span_from < active.active_until)
left join plan_spans as plans
    on
        spans.subscription_id = plans.subscription_id
        and spans.span_from >= plans.plan_from
        and (plans.plan_until is null or spans.span_from < plans.plan_until)
