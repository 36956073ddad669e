-- 20_subscription_anchors: the local dates from which each subscription's cycles are counted.
--
-- in:    subscription_starts, rate_card_versions, midnights
-- out:   subscription_id | time_zone, started_date, anchor_date, anchor_month_index, cycle_length, cycle_unit, ...
-- grain: one row per subscription that has started
-- why:   a local date is the last one whose midnight is not after the instant; zones lie within a day of UTC.
with instants as (
    select
        subscription_id,
        time_zone,
        'subscription_started' as kind,
        started_at as instant
    from subscription_starts
    union all
    select
        subscription_id,
        time_zone,
        'account_created' as kind,
        account_created_at as instant
    from subscription_starts
),

day_offsets as (
    select unnest([-1, 0, 1]) as day_offset
),

local_dates as (
    select
        instants.subscription_id,
        max(case when instants.kind = 'subscription_started' then midnights.local_date end) as started_date,
        max(case when instants.kind = 'account_created' then midnights.local_date end) as created_date
    from instants
    cross join day_offsets
    inner join midnights
        on
            instants.time_zone = midnights.time_zone
            and cast(instants.instant as date) + day_offsets.day_offset = midnights.local_date
            and instants.instant >= midnights.starts_at
    group by instants.subscription_id
),

cards as (
    select distinct
        rate_card,
        cycle_length,
        cycle_unit,
        anchor,
        first_cycle_from
    from rate_card_versions
),

anchored as (
    select
        starts.subscription_id,
        starts.time_zone,
        local_dates.started_date,
        cards.cycle_length,
        cards.cycle_unit,
        cards.anchor = 'calendar' as is_calendar,
        case
            when cards.anchor = 'account_created' then local_dates.created_date
            when cards.anchor = 'calendar' and cards.first_cycle_from = 'account_created'
                then least(local_dates.created_date, local_dates.started_date)
            else local_dates.started_date
        end as anchor_date
    from subscription_starts as starts
    inner join local_dates on starts.subscription_id = local_dates.subscription_id
    inner join cards on starts.rate_card = cards.rate_card
)

select
    subscription_id,
    time_zone,
    started_date,
    anchor_date,
    cast(year(anchor_date) * 12 + month(anchor_date) - 1 as integer) as anchor_month_index,
    cycle_length,
    cycle_unit,
    is_calendar
from anchored
