-- 266_usage_keys_apart: the keys of usage rows that cannot be judged by where they fall alone.
--
-- in:    usage_keys_repeated, usage_at_hand, late_rows
-- out:   key_hash
-- grain: one row per hash of a key that more than one row may have, or a row that came too late
-- why:   two keys may have one hash: then both are looked at row by row, which changes nothing in what is found.
select key_hash
from usage_keys_repeated
union
select known.key_hash
from usage_at_hand as known
inner join late_rows as late
    on
        known.run_number = late.run_number
        and known.file = late.file
        and known.row_number = late.row_number
where late.feed = 'usage'
