-- 360_cart_statements: everything said about each cart, one statement an instant.
--
-- in:    cart_events_judged, cart_snapshots_judged, snapshots
-- out:   cart_number, stated_at | category_number
-- grain: one row per cart and instant; 0 is a cart that is not active, an empty category leaves it as it was
-- as:    view
-- why:   at one and the same instant the event wins over the snapshot. A refused row still lists its cart.
with events_at_snapshots as (
    select
        events.cart_number,
        events.occurred_at
    from cart_events_judged as events
    inner join snapshots on events.occurred_at = snapshots.snapshot_at
    where events.verdict = 'counted'
),

listed as (
    select
        r.cart_number,
        r.snapshot_at as stated_at,
        r.is_repeated,
        case when r.verdict = 'counted' then r.category_number end as category_number
    from cart_snapshots_judged as r
    inner join snapshots on r.snapshot_at = snapshots.snapshot_at
    where
        r.verdict in ('counted', 'held', 'refused', 'rejected')
        and not r.is_late
        and not snapshots.is_incomplete
),

listings as (
    select
        cart_number,
        stated_at,
        category_number
    from listed
    where not is_repeated
    union all
    select
        cart_number,
        stated_at,
        max(category_number) as category_number
    from listed
    where is_repeated
    group by cart_number, stated_at
)

select
    cart_number,
    occurred_at as stated_at,
    category_number
from cart_events_judged
where verdict = 'counted'
union all
select
    listings.cart_number,
    listings.stated_at,
    listings.category_number
from listings
left join events_at_snapshots as events
    on listings.cart_number = events.cart_number and listings.stated_at = events.occurred_at
where events.cart_number is null
