-- numbered_rows: a CSV file's rows with their true row numbers.
--
-- in:    typed_rows, malformed_rows
-- out:   row_number | the columns of typed_rows
-- why:   the engine numbers only the rows it could split into fields; each row it left out moves the ones after it on.
with malformed as (
    select
        row_number - place as rows_read_before,
        max(place) as rows_left_out
    from (
        select
            row_number,
            row_number() over (order by row_number) as place
        from malformed_rows
    ) as in_order
    group by row_number - place
)

select
    typed_rows.row_number + coalesce(malformed.rows_left_out, 0) as row_number,
    typed_rows.* exclude (row_number)
from typed_rows
asof left join malformed on typed_rows.row_number > malformed.rows_read_before
