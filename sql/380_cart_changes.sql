-- 380_cart_changes: when each cart really changed: switched on or off, or moved to another category.
--
-- in:    cart_states
-- out:   subscription_id, cart_id, changed_at | subscription_number, category_before, category_after, number_before,
--        number_after
-- grain: one row per cart and instant at which it changed; an empty category is "not active"
-- as:    view
-- why:   re-stating a state changes nothing.
select
    subscription_id,
    cart_id,
    stated_at as changed_at,
    subscription_number,
    category_before,
    category as category_after,
    number_before,
    number_after
from cart_states
where number_after <> coalesce(number_before, 0)
