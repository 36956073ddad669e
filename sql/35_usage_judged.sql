-- 35_usage_judged: each usage row, and whether it counts.
--
-- in:    known_usage, subscription_starts, active_spans, billing_cycles, charges
-- out:   run_number, file, row_number | the row, cycle_start, verdict, reason, detail
-- grain: one row per usage row ever read
-- why:   conflicts are looked for among the rows of one cycle: an exporter may number its events anew in each. A
--        higher revision counts across all of them, so that it can move a row to another cycle.
with placed as (
    select
        known.*,
        starts.subscription_id is null as is_subscription_unknown,
        starts.rate_card,
        cycles.cycle_start,
        spans.active_from is null as is_outside
    from known_usage as known
    left join subscription_starts as starts on known.subscription_id = starts.subscription_id
    left join billing_cycles as cycles
        on
            known.subscription_id = cycles.subscription_id
            and known.occurred_at >= cycles.starts_at
            and known.occurred_at < cycles.ends_at
    left join active_spans as spans
        on
            known.subscription_id = spans.subscription_id
            and known.occurred_at >= spans.active_from
            and (spans.active_until is null or known.occurred_at < spans.active_until)
),

told_apart as (
    select
        *,
        row_number() over arrivals as arrival,
        struct_pack(meter, quantity, occurred_at, value, voided)
        <> first_value(struct_pack(meter, quantity, occurred_at, value, voided)) over arrivals as is_conflict
    from placed
    window arrivals as (
        partition by subscription_id, event_id, revision, cycle_start
        order by run_number, file, row_number
    )
),

meters as (
    select distinct
        rate_card,
        meter
    from charges
    where meter is not null
),

compared as (
    select
        told_apart.*,
        case
            when told_apart.voided then null
            when told_apart.is_subscription_unknown then 'unknown_subscription'
            when meters.meter is null then 'unknown_meter'
            when told_apart.is_outside then 'outside_subscription'
        end as misfit
    from told_apart
    left join meters on told_apart.rate_card = meters.rate_card and told_apart.meter = meters.meter
),

ranked as (
    select
        *,
        max(case when not is_conflict and misfit is null then revision end)
            over (partition by subscription_id, event_id) as revision_in_force
    from compared
)

select
    subscription_id,
    event_id,
    meter,
    quantity,
    occurred_at,
    value,
    revision,
    voided,
    run_number,
    file,
    row_number,
    cycle_start,
    case
        when is_conflict then 'rejected'
        when arrival > 1 then 'duplicate'
        when revision < revision_in_force then 'superseded'
        when misfit is not null then 'held'
        when voided then 'voided'
        else 'counted'
    end as verdict,
    case when is_conflict then 'conflicting_duplicate' else misfit end as reason,
    case
        when is_conflict
            then 'another row of this subscription_id, event_id and revision says otherwise; send a higher revision'
        when misfit = 'unknown_subscription' then 'no started row of this subscription is known yet'
        when misfit = 'unknown_meter' then 'no version of the rate card has this meter'
        when misfit = 'outside_subscription' then 'the subscription is not active at occurred_at'
    end as detail
from ranked
