-- malformed_rows: the lines of a CSV file that are no row of the header's width, or no UTF-8.
--
-- in:    malformed_lines
-- out:   row_number | detail, raw
-- why:   line 1 is the header, so the first data row is row 1; one line may have several faults.
select
    cast(line - 1 as bigint) as row_number,
    string_agg(distinct error_message, '; ' order by error_message) as detail,
    min(csv_line) as raw
from malformed_lines
group by line
