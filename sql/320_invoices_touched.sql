-- 320_invoices_touched: the issued invoices that may have to be corrected.
--
-- in:    rows_touching, issued_cycles, held_invoices_before
-- out:   invoice_id | kind, subscription_id, cycle_start, cycle_end, starts_at, ends_at, rate_card, rate_card_version
-- grain: one row per invoice of kind opening or cycle that a row may make a difference to, or whose correction is held
-- why:   usage and purchases fall into one cycle; what is said of carts, plans, activity and limits lasts, so it may
--        touch every cycle that ends after it. A subscription's row at the very end of a cycle decides the fee that
--        the cycle's invoice carries for the next one.
with falling as (
    select distinct
        subscription_id,
        instant
    from rows_touching
    where feed in ('usage', 'one_off_charges')
),

lasting as (
    select
        subscription_id,
        min(case when feed in ('cart_events', 'spending_limits') then instant end) as said_at,
        min(case when feed = 'subscriptions' then instant end) as changed_at
    from rows_touching
    where feed in ('cart_events', 'spending_limits', 'subscriptions')
    group by subscription_id
),

snapshots as (
    select min(instant) as snapshot_at
    from rows_touching
    where feed = 'cart_snapshots'
),

touched as (
    select issued.invoice_id
    from issued_cycles as issued
    inner join falling
        on
            issued.subscription_id = falling.subscription_id
            and issued.starts_at <= falling.instant
            and issued.ends_at > falling.instant
    union
    select issued.invoice_id
    from issued_cycles as issued
    inner join lasting
        on
            issued.subscription_id = lasting.subscription_id
            and (issued.ends_at > lasting.said_at or issued.ends_at >= lasting.changed_at)
    union
    select issued.invoice_id
    from issued_cycles as issued
    inner join snapshots on issued.ends_at > snapshots.snapshot_at
    union
    select invoice_id
    from held_invoices_before
    where kind = 'correction'
)

select
    issued.invoice_id,
    issued.kind,
    issued.subscription_id,
    issued.cycle_start,
    issued.cycle_end,
    issued.starts_at,
    issued.ends_at,
    issued.rate_card,
    issued.rate_card_version
from touched
inner join issued_cycles as issued on touched.invoice_id = issued.invoice_id
