-- 370_cart_states: each cart's state from every statement on, with those that a snapshot no longer lists.
--
-- in:    cart_statements, snapshots, carts, peak_categories
-- out:   subscription_id, cart_id, stated_at | subscription_number, category_before, category, number_before,
--        number_after
-- grain: one row per cart and instant from which it is in a state; its category is empty while it is not active
-- as:    view
-- why:   a cart of which something is said between two snapshots, and which the second does not list, is gone then:
--        of what is said of it between the two, the last statement shows that. So no product of carts and snapshots is
--        ever made. Statements find their snapshots by the day first, and only where there are snapshots. A statement
--        that leaves its cart as it was makes no state.
with accepted as (
    select snapshot_at
    from snapshots
    where not is_incomplete
),

first_accepted as (
    select min(snapshot_at) as snapshot_at
    from accepted
    having count(*) > 0
),

snapshot_spans as (
    select
        snapshot_at as span_from,
        lead(snapshot_at) over (order by snapshot_at) as next_snapshot_at
    from accepted
    union all
    select
        cast('0001-01-01 00:00:00+00' as timestamptz) as span_from,
        snapshot_at as next_snapshot_at
    from first_accepted
),

by_day as (
    select
        statements.cart_number,
        statements.stated_at,
        cast(statements.stated_at as date) as day
    from cart_statements as statements
    cross join first_accepted
),

days as (
    select distinct day
    from by_day
),

spans_by_day as (
    select
        days.day,
        spans.span_from,
        spans.next_snapshot_at
    from days
    inner join snapshot_spans as spans
        on
            days.day >= cast(spans.span_from as date)
            and (days.day <= cast(spans.next_snapshot_at as date) or spans.next_snapshot_at is null)
),

followed as (
    select
        by_day.cart_number,
        spans.next_snapshot_at,
        lead(by_day.stated_at) over (partition by by_day.cart_number order by by_day.stated_at) as next_stated_at
    from by_day
    inner join spans_by_day as spans
        on
            by_day.day = spans.day
            and by_day.stated_at >= spans.span_from
            and (by_day.stated_at < spans.next_snapshot_at or spans.next_snapshot_at is null)
),

states as (
    select
        cart_number,
        stated_at,
        category_number
    from cart_statements
    where category_number is not null
    union all
    select
        cart_number,
        next_snapshot_at as stated_at,
        0 as category_number
    from followed
    where coalesce(next_snapshot_at < next_stated_at, next_snapshot_at is not null)
),

in_order as (
    select
        cart_number,
        stated_at,
        category_number,
        lag(category_number) over (partition by cart_number order by stated_at) as number_before
    from states
)

select
    carts.subscription_id,
    carts.cart_id,
    in_order.stated_at,
    carts.subscription_number,
    before.category as category_before,
    after.category,
    in_order.number_before,
    in_order.category_number as number_after
from in_order
inner join carts on in_order.cart_number = carts.cart_number
left join peak_categories as before on in_order.number_before = before.category_number
left join peak_categories as after on in_order.category_number = after.category_number
