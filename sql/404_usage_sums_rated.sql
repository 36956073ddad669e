-- 404_usage_sums_rated: what each meter counts in each span of a cycle, by the rows at hand and by those kept.
--
-- in:    usage_sums, usage_sums_kept, usage_kept_alone, usage_spans_uncounted
-- out:   subscription_id, meter, span_from, is_kept | span_until, cycle_start, plan, usage_rows, ...
-- grain: one row per subscription, meter and span with a row that counts; for rows of earlier runs one more, of cycles
--        that are rated now or open
-- why:   what earlier runs read is added up anew only where the sum that they kept does not tell it any more.
select
    subscription_id,
    meter,
    span_from,
    false as is_kept,
    span_until,
    cycle_start,
    plan,
    usage_rows,
    rows_above_zero,
    quantity_sum,
    quantity_max
from usage_sums
where trouble is null and cycle_start is not null
union all
select
    subscription_id,
    meter,
    span_from,
    true as is_kept,
    span_until,
    cycle_start,
    plan,
    usage_rows,
    rows_above_zero,
    quantity_sum,
    quantity_max
from usage_sums_kept
union all
select
    usage.subscription_id,
    usage.meter,
    spans.span_from,
    true as is_kept,
    spans.span_until,
    spans.cycle_start,
    spans.plan,
    count(*) as usage_rows,
    count(case when usage.quantity > 0 then 1 end) as rows_above_zero,
    sum(usage.quantity) as quantity_sum,
    max(usage.quantity) as quantity_max
from usage_kept_alone as usage
inner join usage_spans_uncounted as spans
    on
        usage.subscription_id = spans.subscription_id
        and usage.occurred_at >= spans.span_from
        and usage.occurred_at < spans.span_until
        and usage.meter = coalesce(spans.meter, usage.meter)
group by
    usage.subscription_id,
    usage.meter,
    spans.span_from,
    spans.span_until,
    spans.cycle_start,
    spans.plan
