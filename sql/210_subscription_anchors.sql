-- 210_subscription_anchors: the local dates from which each subscription's cycles are counted.
--
-- in:    subscription_starts, rate_card_versions, local_dates
-- out:   subscription_id | time_zone, started_date, anchor_date, anchor_month_index, cycle_length, cycle_unit, ...
-- grain: one row per subscription that has started
with cards as (
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
        started.local_date as started_date,
        cards.cycle_length,
        cards.cycle_unit,
        cards.anchor = 'calendar' as is_calendar,
        case
            when cards.anchor = 'account_created' then created.local_date
            when cards.first_cycle_from = 'account_created' then least(created.local_date, started.local_date)
            else started.local_date
        end as anchor_date
    from subscription_starts as starts
    inner join local_dates as started
        on starts.time_zone = started.time_zone and starts.started_at = started.instant
    inner join local_dates as created
        on starts.time_zone = created.time_zone and starts.account_created_at = created.instant
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
