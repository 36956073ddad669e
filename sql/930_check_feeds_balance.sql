-- 930_check_feeds_balance: feeds of which some row has no outcome, or more than one. No row may come out.
--
-- in:    feed_balances
-- out:   feed | rows_in, rows_out
-- grain: one row per fault
-- why:   each row ever read counts, repeats another, is superseded, voided, not priced, held or rejected: none is lost
--        on the way, none is taken twice. A refused snapshot row that still lists its cart is among the rejected ones.
with added_up as (
    select
        *,
        rated + not_due + duplicate + superseded + voided + unpriced + rejected + held as rows_out,
        least(rated, not_due, duplicate, superseded, voided, unpriced, rejected, held) as least_rows
    from feed_balances
)

select
    feed,
    rows_in,
    rows_out
from added_up
where rows_in <> rows_out or least_rows < 0
