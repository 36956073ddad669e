-- malformed_rows: the lines of a CSV file that are no row of the header's width, or no UTF-8.
--
-- in:    malformed_lines, blank_lines
-- out:   row_number | detail, raw
-- why:   the engine counts the header and blank lines, a row number neither. It reports a line once a field: of a line
--        too long the last report counts its fields, of one too short the first.
select
    line - 1 - (
        select count(*) from blank_lines
        where blank_lines.line < malformed_lines.line
    ) as row_number,
    case
        when max(error_type = 'TOO MANY COLUMNS') then arg_max(error_message, column_idx)
        else coalesce(arg_min(error_message, column_idx), min(error_message))
    end as detail,
    ltrim(min(csv_line), chr(10) || chr(13)) as raw
from malformed_lines
group by line
