-- 267_usage_alone: the usage rows that have their key to themselves.
--
-- in:    known_usage, usage_keys_apart
-- out:   run_number, file, row_number | the row
-- grain: one row per usage row ever read that repeats no other, came in time and is not voided
-- as:    view
select known.*
from known_usage as known
left join usage_keys_apart as apart on known.key_hash = apart.key_hash
where apart.key_hash is null and not known.voided
