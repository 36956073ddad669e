-- 144_carts: every cart of which something was ever said, numbered.
--
-- in:    known_cart_events, known_cart_snapshots, subscription_starts
-- out:   subscription_id, cart_id | cart_number, subscription_number, rate_card
-- grain: one row per cart; its rate card is empty while its subscription is unknown
-- why:   a cart is told by two texts. What is said of it is put in order by its number, in a third of the time.
with named as (
    select
        subscription_id,
        cart_id
    from known_cart_events
    union
    select
        subscription_id,
        cart_id
    from known_cart_snapshots
)

select
    named.subscription_id,
    named.cart_id,
    starts.rate_card,
    cast(row_number() over (order by named.subscription_id, named.cart_id) as integer) as cart_number,
    cast(dense_rank() over (order by named.subscription_id) as integer) as subscription_number
from named
left join subscription_starts as starts on named.subscription_id = starts.subscription_id
