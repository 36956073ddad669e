-- 31_cart_states: each cart's state from every statement on, with those that a snapshot no longer lists.
--
-- in:    cart_statements, snapshots
-- out:   subscription_id, cart_id, stated_at | category
-- grain: one row per cart and instant at which something is said of it; category is empty while it is not active
-- why:   where the next snapshot comes before the cart's next statement, the cart is gone at that snapshot. So no
--        product of carts and snapshots is ever made.
with accepted as (
    select
        snapshot_at,
        lead(snapshot_at) over (order by snapshot_at) as next_snapshot_at
    from snapshots
    where not is_incomplete
),

snapshot_spans as (
    select
        snapshot_at as span_from,
        next_snapshot_at
    from accepted
    union all
    select
        cast('0001-01-01 00:00:00+00' as timestamptz) as span_from,
        min(snapshot_at) as next_snapshot_at
    from accepted
),

followed as (
    select
        statements.*,
        spans.next_snapshot_at,
        lead(statements.stated_at) over (
            partition by statements.subscription_id, statements.cart_id order by statements.stated_at
        ) as next_stated_at
    from cart_statements as statements
    left join snapshot_spans as spans
        on
            statements.stated_at >= spans.span_from
            and statements.stated_at < spans.next_snapshot_at
),

states as (
    select
        subscription_id,
        cart_id,
        stated_at,
        state is null as is_unchanged,
        case when state = 'active' then category end as category
    from followed
    union all
    select
        subscription_id,
        cart_id,
        next_snapshot_at as stated_at,
        false as is_unchanged,
        null as category
    from followed
    where next_snapshot_at is not null and (next_stated_at is null or next_snapshot_at < next_stated_at)
),

numbered as (
    select
        *,
        sum(case when is_unchanged then 0 else 1 end) over (
            partition by subscription_id, cart_id order by stated_at
            rows between unbounded preceding and current row
        ) as statement_number
    from states
)

select
    subscription_id,
    cart_id,
    stated_at,
    max(category) over (partition by subscription_id, cart_id, statement_number) as category
from numbered
