-- 930_check_every_row_has_an_outcome: files of which not every row read was judged, exactly once. No row may come out.
--
-- in:    files_read, rows_judged, known_rejected_rows
-- out:   feed, run_number, file | rows_read, rows_judged
-- grain: one row per fault
-- why:   each row ever read counts, repeats another, is superseded, voided, not priced, held or rejected: none is lost
--        on the way, none is taken twice. A refused snapshot row that still lists its cart is among the rejected ones.
with outcomes as (
    select
        feed,
        run_number,
        file,
        count(*) as rows_judged
    from rows_judged
    where verdict <> 'refused'
    group by feed, run_number, file
    union all
    select
        feed,
        run_number,
        file,
        count(*) as rows_judged
    from known_rejected_rows
    group by feed, run_number, file
),

judged as (
    select
        feed,
        run_number,
        file,
        sum(rows_judged) as rows_judged
    from outcomes
    group by feed, run_number, file
)

select
    coalesce(files_read.feed, judged.feed) as feed,
    coalesce(files_read.run_number, judged.run_number) as run_number,
    coalesce(files_read.file, judged.file) as file,
    coalesce(files_read.rows_read, 0) as rows_read,
    cast(coalesce(judged.rows_judged, 0) as bigint) as rows_judged
from files_read
full outer join judged
    on
        files_read.feed = judged.feed
        and files_read.run_number = judged.run_number
        and files_read.file = judged.file
where coalesce(files_read.rows_read, 0) <> coalesce(judged.rows_judged, 0)
