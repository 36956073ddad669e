-- rows_at_edges: what happened close to a cycle's edge, and on which side.
--
-- in:    cycle_edges, subscription_starts, usage_judged, usage_settled, usage_kept_at_edges, usage_keys_apart,
--        one_off_charges_judged, cart_changes, rate_card_versions
-- out:   subscription_id, edge_at, feed, counted_by | account_id, currency, rows_before, quantity_before, ...
-- grain: one row per edge and meter, category or one-offs, with a row close to the edge
-- why:   a row that is off by a little would count in the other cycle. Of one-offs the quantity is their amount.
with rows_counted as (
    select
        subscription_id,
        'usage' as feed,
        meter as counted_by,
        occurred_at,
        cast(quantity as decimal(28, 6)) as quantity
    from usage_judged
    where verdict in ('counted', 'unpriced')
    union all
    select
        subscription_id,
        'usage' as feed,
        meter as counted_by,
        occurred_at,
        cast(quantity as decimal(28, 6)) as quantity
    from usage_settled
    union all
    select
        kept.subscription_id,
        'usage' as feed,
        kept.meter as counted_by,
        kept.occurred_at,
        cast(kept.quantity as decimal(28, 6)) as quantity
    from usage_kept_at_edges as kept
    left join usage_keys_apart as apart on kept.key_hash = apart.key_hash
    where apart.key_hash is null
    union all
    select
        subscription_id,
        'one_off_charges' as feed,
        '' as counted_by,
        purchased_at as occurred_at,
        cast(amount as decimal(28, 6)) as quantity
    from one_off_charges_judged
    where verdict = 'counted'
    union all
    select
        subscription_id,
        'carts' as feed,
        coalesce(category_after, category_before) as counted_by,
        changed_at as occurred_at,
        cast(1 as decimal(28, 6)) as quantity
    from cart_changes
),

currencies as (
    select distinct
        rate_card,
        currency,
        minor_digits
    from rate_card_versions
),

placed as (
    select
        edges.subscription_id,
        edges.edge_at,
        edges.edge_on,
        found.feed,
        found.counted_by,
        found.quantity,
        found.occurred_at < edges.edge_at as is_before,
        abs(datediff('microsecond', edges.edge_at, found.occurred_at)) as microseconds_away
    from cycle_edges as edges
    inner join rows_counted as found
        on
            edges.subscription_id = found.subscription_id
            and edges.span_from <= found.occurred_at
            and edges.span_until > found.occurred_at
)

select
    placed.subscription_id,
    placed.edge_at,
    placed.feed,
    placed.counted_by,
    min(placed.edge_on) as edge_on,
    min(starts.account_id) as account_id,
    min(currencies.currency) as currency,
    min(currencies.minor_digits) as minor_digits,
    count(case when placed.is_before then 1 end) as rows_before,
    coalesce(sum(case when placed.is_before then placed.quantity end), 0) as quantity_before,
    count(case when not placed.is_before then 1 end) as rows_after,
    coalesce(sum(case when not placed.is_before then placed.quantity end), 0) as quantity_after,
    min(placed.microseconds_away) as microseconds_away
from placed
inner join subscription_starts as starts on placed.subscription_id = starts.subscription_id
inner join currencies on starts.rate_card = currencies.rate_card
group by placed.subscription_id, placed.edge_at, placed.feed, placed.counted_by
order by microseconds_away, placed.subscription_id, placed.edge_at, placed.feed, placed.counted_by
