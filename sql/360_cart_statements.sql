-- 360_cart_statements: everything said about each cart, one statement an instant.
--
-- in:    cart_events_judged, cart_snapshots_judged, snapshots
-- out:   subscription_id, cart_id, stated_at | category, state
-- grain: one row per cart and instant; an empty state leaves the cart as it was
-- why:   at one and the same instant the event wins over the snapshot. A refused row still lists its cart.
with events as (
    select
        subscription_id,
        cart_id,
        occurred_at as stated_at,
        category,
        state
    from cart_events_judged
    where verdict = 'counted'
),

listed as (
    select
        r.subscription_id,
        r.cart_id,
        r.snapshot_at as stated_at,
        r.is_repeated,
        case when r.verdict = 'counted' then r.category end as category,
        case when r.verdict = 'counted' then r.state end as state
    from cart_snapshots_judged as r
    inner join snapshots on r.snapshot_at = snapshots.snapshot_at
    where
        r.verdict in ('counted', 'held', 'refused', 'rejected')
        and not r.is_late
        and not snapshots.is_incomplete
),

listings as (
    select
        subscription_id,
        cart_id,
        stated_at,
        category,
        state
    from listed
    where not is_repeated
    union all
    select
        subscription_id,
        cart_id,
        stated_at,
        max(category) as category,
        max(state) as state
    from listed
    where is_repeated
    group by subscription_id, cart_id, stated_at
)

select
    subscription_id,
    cart_id,
    stated_at,
    category,
    state
from events
union all
select
    listings.subscription_id,
    listings.cart_id,
    listings.stated_at,
    listings.category,
    listings.state
from listings
left join events
    on
        listings.subscription_id = events.subscription_id
        and listings.cart_id = events.cart_id
        and listings.stated_at = events.stated_at
where events.cart_id is null
