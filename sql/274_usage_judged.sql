-- 274_usage_judged: each usage row, and whether it counts.
--
-- in:    usage_rows_judged, known_usage, subscription_spans
-- out:   run_number, file, row_number | the row, cycle_start, plan, verdict, reason, detail
-- grain: one row per usage row ever read
-- as:    view
-- why:   no stage reads it, for that would be to look at every row: it is there for who asks what became of one.
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
    plan,
    verdict,
    reason,
    detail
from usage_rows_judged
union all
select
    known.subscription_id,
    known.event_id,
    known.meter,
    known.quantity,
    known.occurred_at,
    known.value,
    known.revision,
    known.voided,
    known.run_number,
    known.file,
    known.row_number,
    spans.cycle_start,
    spans.plan,
    'counted' as verdict,
    null as reason,
    null as detail
from known_usage as known
inner join subscription_spans as spans
    on
        known.subscription_id = spans.subscription_id
        and known.occurred_at >= spans.span_from
        and known.occurred_at < spans.span_until
left join usage_rows_judged as judged
    on
        known.run_number = judged.run_number
        and known.file = judged.file
        and known.row_number = judged.row_number
where judged.file is null
