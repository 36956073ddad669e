-- 274_usage_judged: each usage row at hand, and whether it counts.
--
-- in:    usage_rows_judged, usage_alone, usage_sums
-- out:   run_number, file, row_number | the row, cycle_start, plan, verdict, reason, detail
-- grain: one row per usage row at hand
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
    alone.subscription_id,
    alone.event_id,
    alone.meter,
    alone.quantity,
    alone.occurred_at,
    alone.value,
    alone.revision,
    alone.voided,
    alone.run_number,
    alone.file,
    alone.row_number,
    sums.cycle_start,
    sums.plan,
    'counted' as verdict,
    null as reason,
    null as detail
from usage_alone as alone
inner join usage_sums as sums
    on
        alone.subscription_id = sums.subscription_id
        and alone.meter = sums.meter
        and alone.occurred_at >= sums.span_from
        and alone.occurred_at < sums.span_until
where sums.trouble is null
