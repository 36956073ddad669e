-- 870_rejected_rows: every row that is refused or waits, as the published table shows it.
--
-- in:    rows_listed, rows_listed_raw, known_rejected_rows
-- out:   feed, read_in, file, row_number | the columns of the published table
-- grain: one row per refused or waiting row
select
    listed.run_id,
    listed.feed,
    listed.file,
    listed.row_number,
    listed.status,
    listed.reason,
    listed.detail,
    coalesce(known.raw, typed.raw) as raw,
    listed.read_in,
    listed.held_since
from rows_listed as listed
left join rows_listed_raw as typed
    on
        listed.feed = typed.feed
        and listed.read_in = typed.read_in
        and listed.file = typed.file
        and listed.row_number = typed.row_number
left join known_rejected_rows as known
    on
        listed.feed = known.feed
        and cast(listed.read_in as integer) = known.run_number
        and listed.file = known.file
        and listed.row_number = known.row_number
