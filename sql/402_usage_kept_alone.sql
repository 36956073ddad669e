-- 402_usage_kept_alone: the usage rows of earlier runs, in cycles rated now, that nothing is to be said of any more.
--
-- in:    usage_kept, usage_keys_apart
-- out:   run_number, file, row_number | the row
-- grain: one row per usage row that earlier runs read and that is not at hand, in the time of a cycle rated now
-- as:    view
select kept.*
from usage_kept as kept
left join usage_keys_apart as apart on kept.key_hash = apart.key_hash
where apart.key_hash is null
