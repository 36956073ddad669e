-- 407_usage_rows_rated: the usage rows that were looked at by themselves and count, or are not priced.
--
-- in:    usage_rows_judged, usage_settled
-- out:   run_number, file, row_number | subscription_id, event_id, meter, quantity, occurred_at, value, ...
-- grain: one row per such usage row at hand; of earlier runs those besides that may fall into a cycle rated now
-- as:    view
select
    run_number,
    file,
    row_number,
    subscription_id,
    event_id,
    meter,
    quantity,
    occurred_at,
    value,
    cycle_start,
    plan,
    verdict
from usage_rows_judged
where verdict in ('counted', 'unpriced') and cycle_start is not null
union all
select
    run_number,
    file,
    row_number,
    subscription_id,
    event_id,
    meter,
    quantity,
    occurred_at,
    value,
    cycle_start,
    plan,
    verdict
from usage_settled
where cycle_start is not null
