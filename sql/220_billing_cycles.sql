-- 220_billing_cycles: every subscription's cycles, from the one it started in to the one that holds as_of.
--
-- in:    subscription_anchors, subscription_starts, rate_card_versions, months, midnights, run_parameters
-- out:   subscription_id, cycle_start | cycle_end, closes_on, starts_at, ends_at, whole_days, rate_card_version
-- grain: one row per subscription and cycle
-- why:   cycle k starts at anchor + k lengths, always counted from the anchor itself and held to the month's last day;
--        each ends where the next starts, so that cycles tile whatever the calendar does. whole_days is the length the
--        cycle would have had: only the first one of a calendar card is shorter. A preview lets the open cycle close
--        on as_of.
with ranges as (
    select
        a.*,
        case
            when a.cycle_unit = 'days' then datediff('day', a.anchor_date, a.started_date)
            else year(a.started_date) * 12 + month(a.started_date) - 1 - a.anchor_month_index
        end as units_to_start,
        case
            when a.cycle_unit = 'days' then datediff('day', a.anchor_date, p.as_of)
            else year(p.as_of) * 12 + month(p.as_of) - 1 - a.anchor_month_index
        end as units_to_as_of
    from subscription_anchors as a
    cross join run_parameters as p
),

numbered as (
    select
        *,
        unnest(
            generate_series(
                cast(units_to_start // cycle_length as integer) - 2,
                cast(units_to_as_of // cycle_length as integer) + 2
            )
        ) as cycle_number
    from ranges
),

starts as (
    select
        numbered.subscription_id,
        numbered.time_zone,
        numbered.cycle_number,
        case
            when numbered.cycle_unit = 'days'
                then numbered.anchor_date + cast(numbered.cycle_number * numbered.cycle_length as integer)
            when numbered.cycle_number = 0 then numbered.anchor_date
            when numbered.is_calendar then months.first_date
            else months.first_date + cast(least(day(numbered.anchor_date), months.days) - 1 as integer)
        end as cycle_start,
        case when numbered.is_calendar then months.first_date end as whole_start
    from numbered
    left join months
        on
            numbered.cycle_unit = 'months'
            and numbered.anchor_month_index + numbered.cycle_number * numbered.cycle_length = months.month_index
),

dated as (
    select
        *,
        lead(cycle_start) over (partition by subscription_id order by cycle_number) as cycle_end
    from starts
)

select
    dated.subscription_id,
    dated.cycle_start,
    dated.cycle_end,
    case when run_parameters.is_preview then least(dated.cycle_end, run_parameters.as_of) else dated.cycle_end end
        as closes_on,
    midnights_start.starts_at,
    case
        when run_parameters.is_preview then least(midnights_end.starts_at, previews.starts_at) else
            midnights_end.starts_at
    end
        as ends_at,
    cast(datediff('day', coalesce(dated.whole_start, dated.cycle_start), dated.cycle_end) as integer) as whole_days,
    versions.rate_card_version
from dated
inner join midnights as midnights_start
    on dated.time_zone = midnights_start.time_zone and dated.cycle_start = midnights_start.local_date
inner join midnights as midnights_end
    on dated.time_zone = midnights_end.time_zone and dated.cycle_end = midnights_end.local_date
inner join subscription_starts on dated.subscription_id = subscription_starts.subscription_id
left join rate_card_versions as versions
    on
        subscription_starts.rate_card = versions.rate_card
        and dated.cycle_start >= versions.effective_from
        and (versions.effective_until is null or dated.cycle_start < versions.effective_until)
cross join run_parameters
inner join midnights as previews
    on dated.time_zone = previews.time_zone and run_parameters.as_of = previews.local_date
where
    dated.cycle_start <= run_parameters.as_of
    and not (run_parameters.is_preview and dated.cycle_start = run_parameters.as_of)
    and midnights_end.starts_at > subscription_starts.started_at
