-- 930_check_every_row_has_an_outcome: feeds of which not every row read was judged, exactly once. No row may come out.
--
-- in:    files_read, rows_judged, usage_at_hand, usage_sums, known_rejected_rows, run_parameters
-- out:   feed | rows_read, rows_judged
-- grain: one row per fault
-- why:   each row ever read counts, repeats another, is superseded, voided, not priced, held or rejected: none is lost
--        on the way, none is taken twice. Of usage those read in this run, and the others at hand. A refused snapshot
--        row that still lists its cart is among the rejected ones.
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
        'usage' as feed,
        count(*) as rows_read,
        0 as rows_judged
    from usage_at_hand as usage
    inner join run_parameters on usage.run_number < run_parameters.run_number
    union all
    select
        known.feed,
        0 as rows_read,
        count(*) as rows_judged
    from known_rejected_rows as known
    inner join run_parameters on known.feed <> 'usage' or known.run_number = run_parameters.run_number
    group by known.feed
    union all
    select
        files.feed,
        sum(files.rows_read) as rows_read,
        0 as rows_judged
    from files_read as files
    inner join run_parameters on files.feed <> 'usage' or files.run_number = run_parameters.run_number
    group by files.feed
)

select
    feed,
    cast(coalesce(sum(rows_read), 0) as bigint) as rows_read,
    cast(coalesce(sum(rows_judged), 0) as bigint) as rows_judged
from outcomes
group by feed
having coalesce(sum(rows_read), 0) <> coalesce(sum(rows_judged), 0)
