-- 146_cart_event_keys_repeated: the keys that more than one cart event has.
--
-- in:    known_cart_events
-- out:   subscription_id, cart_id, occurred_at
-- grain: one row per key that comes more than once
-- why:   all other rows need not be told apart, and these are few.
select
    subscription_id,
    cart_id,
    occurred_at
from known_cart_events
group by subscription_id, cart_id, occurred_at
having count(*) > 1
