-- 850_rows_listed: every row that is refused, waits or is not priced, as judged now, with the run that found it so.
--
-- in:    rows_judged, known_rejected_rows, rejected_rows_before, run_parameters
-- out:   feed, read_in, file, row_number | run_id, status, reason, detail, held_since
-- grain: one row per refused or waiting row
with listed as (
    select
        feed,
        run_number,
        file,
        row_number,
        verdict as status,
        reason,
        detail
    from rows_judged
    where verdict in ('rejected', 'held', 'unpriced')
    union all
    select
        feed,
        run_number,
        file,
        row_number,
        'rejected' as status,
        reason,
        detail
    from known_rejected_rows
),

waiting as (
    select
        feed,
        cast(read_in as integer) as run_number,
        file,
        row_number,
        min(held_since) as held_since
    from rejected_rows_before
    where status = 'held'
    group by feed, read_in, file, row_number
)

select
    coalesce(before.run_id, run_parameters.run_id) as run_id,
    listed.feed,
    listed.file,
    listed.row_number,
    listed.status,
    listed.reason,
    listed.detail,
    case when listed.status = 'held' then coalesce(waiting.held_since, run_parameters.as_of) end as held_since,
    lpad(cast(listed.run_number as varchar), 6, '0') as read_in
from listed
cross join run_parameters
left join rejected_rows_before as before
    on
        listed.feed = before.feed
        and listed.run_number = cast(before.read_in as integer)
        and listed.file = before.file
        and listed.row_number = before.row_number
        and listed.status = before.status
        and listed.reason = before.reason
left join waiting
    on
        listed.feed = waiting.feed
        and listed.run_number = waiting.run_number
        and listed.file = waiting.file
        and listed.row_number = waiting.row_number
