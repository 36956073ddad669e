-- 300_rows_judged: what became of every typed row of every feed that is judged by itself: all but the plain usage.
--
-- in:    accounts_judged, subscriptions_judged, cart_events_judged, cart_snapshots_judged, usage_rows_judged,
--        spending_limits_judged, one_off_charges_judged, credit_topups_judged
-- out:   feed, run_number, file, row_number | subscription_id, instant, subject, verdict, reason, detail
-- grain: one row per typed row ever read, of usage those that have to be looked at
-- as:    view
-- why:   subject is what a correction's evidence has to tell rows apart by: the meter, or the purchase itself.
select
    'accounts' as feed,
    run_number,
    file,
    row_number,
    cast(null as varchar) as subscription_id,
    cast(null as timestamptz) as instant,
    cast(null as varchar) as subject,
    verdict,
    reason,
    detail
from accounts_judged
union all
select
    'subscriptions' as feed,
    run_number,
    file,
    row_number,
    subscription_id,
    effective_at as instant,
    cast(null as varchar) as subject,
    verdict,
    reason,
    detail
from subscriptions_judged
union all
select
    'cart_events' as feed,
    run_number,
    file,
    row_number,
    subscription_id,
    occurred_at as instant,
    cast(null as varchar) as subject,
    verdict,
    reason,
    detail
from cart_events_judged
union all
select
    'cart_snapshots' as feed,
    run_number,
    file,
    row_number,
    subscription_id,
    snapshot_at as instant,
    cast(null as varchar) as subject,
    verdict,
    reason,
    detail
from cart_snapshots_judged
union all
select
    'usage' as feed,
    run_number,
    file,
    row_number,
    subscription_id,
    occurred_at as instant,
    meter as subject,
    verdict,
    reason,
    detail
from usage_rows_judged
union all
select
    'spending_limits' as feed,
    run_number,
    file,
    row_number,
    subscription_id,
    agreed_at as instant,
    cast(null as varchar) as subject,
    verdict,
    reason,
    detail
from spending_limits_judged
union all
select
    'one_off_charges' as feed,
    run_number,
    file,
    row_number,
    subscription_id,
    purchased_at as instant,
    charge_id as subject,
    verdict,
    reason,
    detail
from one_off_charges_judged
union all
select
    'credit_topups' as feed,
    run_number,
    file,
    row_number,
    cast(null as varchar) as subscription_id,
    cast(null as timestamptz) as instant,
    cast(null as varchar) as subject,
    verdict,
    reason,
    detail
from credit_topups_judged
