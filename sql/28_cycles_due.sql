-- 28_cycles_due: the cycles to invoice now.
--
-- in:    cycles_rated
-- out:   subscription_id, cycle_start | the active cycle
-- grain: one row per cycle with an active instant that is due and not issued yet
select *
from cycles_rated
where is_due
