-- 230_active_spans: when each subscription is active.
--
-- in:    subscriptions_judged, subscription_starts
-- out:   subscription_id, active_from | active_until
-- grain: one row per unbroken span of activity; active_until is empty while it lasts
-- why:   cancelling what is cancelled and reactivating what is active change nothing, nor does a second start.
with switches as (
    select
        rows_counted.subscription_id,
        rows_counted.effective_at,
        rows_counted.event <> 'cancelled' as is_active
    from subscriptions_judged as rows_counted
    inner join subscription_starts as starts on rows_counted.subscription_id = starts.subscription_id
    where
        rows_counted.verdict = 'counted'
        and (rows_counted.event in ('cancelled', 'reactivated') or rows_counted.effective_at = starts.started_at)
),

compared as (
    select
        *,
        lag(is_active) over (partition by subscription_id order by effective_at) as was_active
    from switches
),

changes as (
    select
        subscription_id,
        effective_at,
        is_active,
        lead(effective_at) over (partition by subscription_id order by effective_at) as next_change_at
    from compared
    where was_active is null or is_active <> was_active
)

select
    subscription_id,
    effective_at as active_from,
    next_change_at as active_until
from changes
where is_active
