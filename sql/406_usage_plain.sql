-- 406_usage_plain: the usage rows that are told by where they fall alone: those at hand, and those kept.
--
-- in:    usage_alone, usage_kept_alone
-- out:   subscription_id, event_id | meter, quantity, occurred_at, value, is_kept
-- grain: one row per usage row that has its key to itself; of earlier runs those in the time of a cycle rated now
-- as:    view
select
    subscription_id,
    event_id,
    meter,
    quantity,
    occurred_at,
    value,
    false as is_kept
from usage_alone
union all
select
    subscription_id,
    event_id,
    meter,
    quantity,
    occurred_at,
    value,
    true as is_kept
from usage_kept_alone
