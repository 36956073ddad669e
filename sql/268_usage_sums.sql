-- 268_usage_sums: what each meter counts in each span of a subscription.
--
-- in:    usage_alone, subscription_spans, meters_in_force
-- out:   subscription_id, meter, span_from | span_until, cycle_start, plan, trouble, usage_rows, rows_above_zero, ...
-- grain: one row per subscription, meter and span with a row that has its key to itself; of an unknown subscription
--        one per meter, without a span
-- why:   most rows are such, and what becomes of them is told by their meter and span: they are added up unseen. Only
--        where there is trouble are they looked at one by one.
with added_up as (
    select
        usage.subscription_id,
        usage.meter,
        spans.span_from,
        count(*) as usage_rows,
        count(case when usage.quantity > 0 then 1 end) as rows_above_zero,
        count(case when usage.quantity > 0 and usage.value is null then 1 end) as rows_without_value,
        sum(usage.quantity) as quantity_sum,
        max(usage.quantity) as quantity_max
    from usage_alone as usage
    left join subscription_spans as spans
        on
            usage.subscription_id = spans.subscription_id
            and usage.occurred_at >= spans.span_from
            and usage.occurred_at < spans.span_until
    group by usage.subscription_id, usage.meter, spans.span_from
),

meters as (
    select distinct
        rate_card,
        meter
    from meters_in_force
)

select
    added_up.subscription_id,
    added_up.meter,
    added_up.span_from,
    spans.span_until,
    spans.cycle_start,
    spans.plan,
    case
        when added_up.span_from is null then 'unknown_subscription'
        when meters.meter is null then 'unknown_meter'
        when not spans.is_active then 'outside_subscription'
        when in_force.counts_values and added_up.rows_without_value > 0 then 'missing_value'
        when spans.cycle_start is not null and in_force.meter is null then 'unpriced'
    end as trouble,
    added_up.usage_rows,
    added_up.rows_above_zero,
    added_up.quantity_sum,
    added_up.quantity_max
from added_up
left join subscription_spans as spans
    on added_up.subscription_id = spans.subscription_id and added_up.span_from = spans.span_from
left join meters on spans.rate_card = meters.rate_card and added_up.meter = meters.meter
left join meters_in_force as in_force
    on
        spans.rate_card = in_force.rate_card
        and spans.rate_card_version = in_force.rate_card_version
        and spans.plan = in_force.plan
        and added_up.meter = in_force.meter
