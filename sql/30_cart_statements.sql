-- 30_cart_statements: everything said about each cart, one statement an instant.
--
-- in:    cart_events_judged, cart_snapshots_judged, snapshots
-- out:   subscription_id, cart_id, stated_at | category, state
-- grain: one row per cart and instant; an empty state leaves the cart as it was
-- why:   at one and the same instant the event wins over the snapshot. A refused row still lists its cart.
with listings as (
    select
        r.subscription_id,
        r.cart_id,
        r.snapshot_at as stated_at,
        max(case when r.verdict = 'counted' then r.category end) as category,
        max(case when r.verdict = 'counted' then r.state end) as state
    from cart_snapshots_judged as r
    inner join snapshots on r.snapshot_at = snapshots.snapshot_at
    where r.verdict in ('counted', 'held', 'refused', 'rejected') and not snapshots.is_incomplete
    group by r.subscription_id, r.cart_id, r.snapshot_at
),

statements as (
    select
        subscription_id,
        cart_id,
        occurred_at as stated_at,
        category,
        state,
        1 as precedence
    from cart_events_judged
    where verdict = 'counted'
    union all
    select
        subscription_id,
        cart_id,
        stated_at,
        category,
        state,
        2 as precedence
    from listings
),

ranked as (
    select
        *,
        row_number() over (partition by subscription_id, cart_id, stated_at order by precedence) as place
    from statements
)

select
    subscription_id,
    cart_id,
    stated_at,
    category,
    state
from ranked
where place = 1
