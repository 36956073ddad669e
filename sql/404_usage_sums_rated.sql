-- 404_usage_sums_rated: what each meter counts in each span of a cycle, by the rows at hand and by those kept.
--
-- in:    usage_sums, usage_kept_alone, subscription_spans, cycles_rated
-- out:   subscription_id, meter, span_from, is_kept | span_until, cycle_start, plan, rows_above_zero, ...
-- grain: one row per subscription, meter and span with a row that counts; for rows of earlier runs one more, of cycles
--        rated now alone
with spans_rated as (
    select spans.*
    from subscription_spans as spans
    inner join cycles_rated as cycles
        on spans.subscription_id = cycles.subscription_id and spans.cycle_start = cycles.cycle_start
    where spans.is_active
)

select
    subscription_id,
    meter,
    span_from,
    false as is_kept,
    span_until,
    cycle_start,
    plan,
    rows_above_zero,
    quantity_sum,
    quantity_max
from usage_sums
where trouble is null and cycle_start is not null
union all
select
    usage.subscription_id,
    usage.meter,
    spans.span_from,
    true as is_kept,
    spans.span_until,
    spans.cycle_start,
    spans.plan,
    count(case when usage.quantity > 0 then 1 end) as rows_above_zero,
    sum(usage.quantity) as quantity_sum,
    max(usage.quantity) as quantity_max
from usage_kept_alone as usage
inner join spans_rated as spans
    on
        usage.subscription_id = spans.subscription_id
        and usage.occurred_at >= spans.span_from
        and usage.occurred_at < spans.span_until
group by
    usage.subscription_id,
    usage.meter,
    spans.span_from,
    spans.span_until,
    spans.cycle_start,
    spans.plan
