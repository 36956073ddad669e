-- 390_carts_reached: how many carts of each category were active at any time of a cycle, and since when.
--
-- in:    cart_changes, active_segments, cycles_due, carts, peak_categories
-- out:   subscription_id, cycle_start, category, carts | reached_at
-- grain: one row per cycle that is due, category and number of carts active at some instant of it, with the first such
--        instant
-- as:    view
-- why:   a cart is active over [switched on, switched off): the running sum takes all changes of one instant at once,
--        so one off and another on never overlap. The row of 0 at each segment's start shows what is carried in.
with segments as (
    select
        s.subscription_id,
        s.cycle_start,
        s.segment_from,
        s.segment_until,
        cast(row_number() over (order by s.subscription_id, s.segment_from) as integer) as segment
    from active_segments as s
    inner join cycles_due as due on s.subscription_id = due.subscription_id and s.cycle_start = due.cycle_start
),

holders as (
    select distinct
        carts.subscription_id,
        carts.subscription_number,
        categories.category_number
    from carts
    inner join peak_categories as categories on carts.rate_card = categories.rate_card
),

steps as (
    select 1 as step
    union all
    select -1 as step
),

marked as (
    select
        changes.subscription_number,
        case when steps.step = 1 then changes.number_after else changes.number_before end as category_number,
        changes.changed_at as active_from,
        steps.step,
        null as segment
    from cart_changes as changes
    cross join steps
    union all
    select
        holders.subscription_number,
        holders.category_number,
        segments.segment_from as active_from,
        0 as step,
        segments.segment
    from segments
    inner join holders on segments.subscription_id = holders.subscription_id
),

running as (
    select
        category_number,
        active_from,
        cast(sum(step) over until_now as bigint) as carts,
        last_value(segment ignore nulls) over until_now as segment
    from marked
    where category_number > 0
    window until_now as (
        partition by subscription_number, category_number order by active_from
        range between unbounded preceding and current row
    )
)

select
    segments.subscription_id,
    segments.cycle_start,
    categories.category,
    running.carts,
    min(running.active_from) as reached_at
from running
inner join segments on running.segment = segments.segment and running.active_from < segments.segment_until
inner join peak_categories as categories on running.category_number = categories.category_number
group by segments.subscription_id, segments.cycle_start, categories.category, running.carts
