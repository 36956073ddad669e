-- 270_usage_rows_judged: each usage row that has to be looked at by itself, and whether it counts.
--
-- in:    usage_at_hand, usage_keys_apart, usage_alone, usage_sums, subscription_spans, meters_in_force, late_rows
-- out:   run_number, file, row_number | the row, is_repeated, cycle_start, plan, verdict, reason, detail
-- grain: one row per usage row that may repeat another or came too late, is voided, or falls where there is
--        trouble
-- why:   conflicts are looked for among the rows of one cycle: an exporter may number its events anew in each. Rows
--        whose cycle is not known yet are in conflict with none. A higher revision counts across all cycles, so that it
--        can move a row to another one.
with chosen as (
    select
        known.*,
        true as is_repeated
    from usage_at_hand as known
    inner join usage_keys_apart as apart on known.key_hash = apart.key_hash
    union all
    select
        known.*,
        false as is_repeated
    from usage_at_hand as known
    left join usage_keys_apart as apart on known.key_hash = apart.key_hash
    where apart.key_hash is null and known.voided
    union all
    select
        alone.*,
        false as is_repeated
    from usage_alone as alone
    inner join usage_sums as sums
        on
            alone.subscription_id = sums.subscription_id
            and alone.meter = sums.meter
            and (
                sums.span_from is null
                or (alone.occurred_at >= sums.span_from and alone.occurred_at < sums.span_until)
            )
    where sums.trouble is not null
),

placed as (
    select
        chosen.*,
        late.feed is not null as is_late,
        spans.span_from is null as is_subscription_unknown,
        spans.rate_card,
        spans.cycle_start,
        spans.rate_card_version,
        spans.plan,
        spans.is_active
    from chosen
    left join late_rows as late
        on
            late.feed = 'usage'
            and chosen.run_number = late.run_number
            and chosen.file = late.file
            and chosen.row_number = late.row_number
    left join subscription_spans as spans
        on
            chosen.subscription_id = spans.subscription_id
            and chosen.occurred_at >= spans.span_from
            and chosen.occurred_at < spans.span_until
),

told_apart as (
    select
        *,
        row_number() over arrivals as arrival,
        struct_pack(meter, quantity, occurred_at, value, voided)
        <> first_value(struct_pack(meter, quantity, occurred_at, value, voided)) over arrivals as is_conflict
    from placed
    where is_repeated
    window arrivals as (
        partition by
            subscription_id,
            event_id,
            revision,
            cycle_start,
            case when cycle_start is null then struct_pack(meter, quantity, occurred_at, value, voided) end
        order by run_number, file, row_number
    )
),

numbered as (
    select *
    from told_apart
    union all
    select
        *,
        1 as arrival,
        false as is_conflict
    from placed
    where not is_repeated
),

meters as (
    select distinct
        rate_card,
        meter
    from meters_in_force
),

compared as (
    select
        numbered.*,
        case
            when numbered.is_late then 'late'
            when numbered.voided then null
            when numbered.is_subscription_unknown then 'unknown_subscription'
            when meters.meter is null then 'unknown_meter'
            when not numbered.is_active then 'outside_subscription'
            when in_force.counts_values and numbered.quantity > 0 and numbered.value is null then 'missing_value'
        end as misfit,
        numbered.cycle_start is not null and in_force.meter is null as is_unpriced
    from numbered
    left join meters on numbered.rate_card = meters.rate_card and numbered.meter = meters.meter
    left join meters_in_force as in_force
        on
            numbered.rate_card = in_force.rate_card
            and numbered.rate_card_version = in_force.rate_card_version
            and numbered.plan = in_force.plan
            and numbered.meter = in_force.meter
),

ranked as (
    select
        *,
        max(case when not is_conflict and misfit is null then revision end)
            over (partition by subscription_id, event_id) as revision_in_force
    from compared
    where is_repeated
    union all
    select
        *,
        revision as revision_in_force
    from compared
    where not is_repeated
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
    is_repeated,
    cycle_start,
    plan,
    case
        when is_conflict then 'rejected'
        when arrival > 1 then 'duplicate'
        when revision < revision_in_force then 'superseded'
        when misfit is not null then 'held'
        when voided then 'voided'
        when is_unpriced then 'unpriced'
        else 'counted'
    end as verdict,
    case
        when is_conflict then 'conflicting_duplicate' when misfit is null and is_unpriced then 'unpriced' else misfit
    end as reason,
    case
        when is_conflict
            then 'another row of this subscription_id, event_id and revision says otherwise; send a higher revision'
        when misfit = 'late'
            then 'it would change a bill from before the correction window; a wider --correction-window lets it in'
        when misfit = 'unknown_subscription' then 'no started row of this subscription is known yet'
        when misfit = 'unknown_meter' then 'no version of the rate card has this meter'
        when misfit = 'outside_subscription' then 'the subscription is not active at occurred_at'
        when misfit = 'missing_value' then 'the plan counts unique values of this meter, and value is empty'
        when is_unpriced
            then 'the plan in force at occurred_at has no charge for this meter; nothing is billed'
    end as detail
from ranked
