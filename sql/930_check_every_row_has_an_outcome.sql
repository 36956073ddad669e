-- 930_check_every_row_has_an_outcome: feeds of which not every row read was judged, exactly once. No row may come out.
--
-- in:    files_read, rows_judged, usage_sums, known_rejected_rows
-- out:   feed | rows_read, rows_judged
-- grain: one row per fault
-- why:   each row ever read counts, repeats another, is superseded, voided, not priced, held or rejected: none is lost
--        on the way, none is taken twice. A refused snapshot row that still lists its cart is among the rejected ones.
with outcomes as (
    select
        feed,
        0 as rows_read,
        count(*) as rows_judged
    from rows_judged
    where verdict <> 'refused'
    group by feed
    union all
    select
        'usage' as feed,
        0 as rows_read,
        sum(usage_rows) as rows_judged
    from usage_sums
    where trouble is null
    union all
    select
        feed,
        0 as rows_read,
        count(*) as rows_judged
    from known_rejected_rows
    group by feed
    union all
    select
        feed,
        sum(rows_read) as rows_read,
        0 as rows_judged
    from files_read
    group by feed
)

select
    feed,
    cast(coalesce(sum(rows_read), 0) as bigint) as rows_read,
    cast(coalesce(sum(rows_judged), 0) as bigint) as rows_judged
from outcomes
group by feed
having coalesce(sum(rows_read), 0) <> coalesce(sum(rows_judged), 0)
