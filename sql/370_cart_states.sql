-- 370_cart_states: each cart's state from every statement on, with those that a snapshot no longer lists.
--
-- in:    cart_statements, snapshots
-- out:   subscription_id, cart_id, stated_at | category_before, category
-- grain: one row per cart and instant at which something is said of it; category is empty while it is not active
-- why:   a cart of which something is said between two snapshots, and which the second does not list, is gone then. So
--        no product of carts and snapshots is ever made. Statements find their snapshots by the day first. Within the
--        stage a cart that is not active has the category '', to tell it from one that is as it was.
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

days as (
    select distinct cast(stated_at as date) as day
    from cart_statements
),

spans_by_day as (
    select
        days.day,
        spans.span_from,
        spans.next_snapshot_at
    from days
    inner join snapshot_spans as spans
        on days.day >= cast(spans.span_from as date) and days.day <= cast(spans.next_snapshot_at as date)
),

still_there as (
    select distinct
        statements.subscription_id,
        statements.cart_id,
        spans.next_snapshot_at
    from cart_statements as statements
    inner join spans_by_day as spans
        on
            cast(statements.stated_at as date) = spans.day
            and statements.stated_at >= spans.span_from
            and statements.stated_at < spans.next_snapshot_at
),

states as (
    select
        subscription_id,
        cart_id,
        stated_at,
        case when state = 'active' then category when state is not null then '' end as category
    from cart_statements
    union all
    select
        still_there.subscription_id,
        still_there.cart_id,
        still_there.next_snapshot_at as stated_at,
        '' as category
    from still_there
    left join cart_statements as statements
        on
            still_there.subscription_id = statements.subscription_id
            and still_there.cart_id = statements.cart_id
            and still_there.next_snapshot_at = statements.stated_at
    where statements.cart_id is null
)

select
    subscription_id,
    cart_id,
    stated_at,
    nullif(
        last_value(category ignore nulls) over (
            partition by subscription_id, cart_id order by stated_at
            rows between unbounded preceding and 1 preceding
        ),
        ''
    ) as category_before,
    nullif(
        last_value(category ignore nulls) over (
            partition by subscription_id, cart_id order by stated_at
            rows between unbounded preceding and current row
        ),
        ''
    ) as category
from states
