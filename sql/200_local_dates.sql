-- 200_local_dates: the local date of every instant that needs one.
--
-- in:    subscription_starts, subscriptions_judged, known_one_off_charges, credit_topups_judged, midnights
-- out:   time_zone, instant | local_date
-- grain: one row per zone and instant
-- why:   a date is the span from its first midnight to the next date's; zones lie within a day of UTC.
with instants as (
    select
        time_zone,
        started_at as instant
    from subscription_starts
    union
    select
        time_zone,
        account_created_at as instant
    from subscription_starts
    union
    select
        starts.time_zone,
        changes.effective_at as instant
    from subscriptions_judged as changes
    inner join subscription_starts as starts on changes.subscription_id = starts.subscription_id
    where changes.event = 'plan_changed'
    union
    select
        starts.time_zone,
        one_offs.purchased_at as instant
    from known_one_off_charges as one_offs
    inner join subscription_starts as starts on one_offs.subscription_id = starts.subscription_id
    union
    select
        time_zone,
        purchased_at as instant
    from credit_topups_judged
    where verdict = 'counted'
),

day_offsets as (
    select unnest([-1, 0, 1]) as day_offset
)

select
    instants.time_zone,
    instants.instant,
    max(midnights.local_date) as local_date
from instants
cross join day_offsets
inner join midnights
    on
        instants.time_zone = midnights.time_zone
        and cast(instants.instant as date) + day_offsets.day_offset = midnights.local_date
        and instants.instant >= midnights.starts_at
group by instants.time_zone, instants.instant
