-- 340_cycles_due: the cycles to invoice now, or again.
--
-- in:    cycles_rated
-- out:   subscription_id, cycle_start | the active cycle
-- grain: one row per cycle with an active instant that is due and not issued yet, or whose invoice is touched
select *
from cycles_rated
where is_due
