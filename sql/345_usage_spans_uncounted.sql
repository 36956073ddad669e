-- 345_usage_spans_uncounted: the spans in which usage rows of earlier runs have to be added up anew.
--
-- in:    subscription_spans, cycles_rated, usage_sums_broken
-- out:   subscription_id, span_from, meter | span_until, cycle_start, plan
-- grain: one row per active span of an issued cycle that is rated again, without a meter: for all of them; of open
--        cycles one per span and meter whose kept sum does not tell any more what is counted
-- why:   sums are kept of open cycles only.
select
    spans.subscription_id,
    spans.span_from,
    cast(null as varchar) as meter,
    spans.span_until,
    spans.cycle_start,
    spans.plan
from subscription_spans as spans
inner join cycles_rated as cycles
    on spans.subscription_id = cycles.subscription_id and spans.cycle_start = cycles.cycle_start
where spans.is_active and cycles.is_issued
union all
select
    spans.subscription_id,
    spans.span_from,
    broken.meter,
    spans.span_until,
    spans.cycle_start,
    spans.plan
from subscription_spans as spans
inner join usage_sums_broken as broken
    on spans.subscription_id = broken.subscription_id and spans.span_from = broken.span_from
