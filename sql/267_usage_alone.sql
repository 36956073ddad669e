-- 267_usage_alone: the usage rows at hand that have their key to themselves.
--
-- in:    usage_at_hand, usage_keys_apart
-- out:   run_number, file, row_number | the row
-- grain: one row per usage row at hand that repeats no other, came in time and is not voided
-- as:    view
select known.*
from usage_at_hand as known
left join usage_keys_apart as apart on known.key_hash = apart.key_hash
where apart.key_hash is null and not known.voided
