-- 390_carts_active: how many carts of each category are active, from each change on.
--
-- in:    cart_changes, active_segments, cycles_due
-- out:   subscription_id, category, active_from | carts, cycle_start
-- grain: one row per subscription, category and instant of a change or of a segment's start, in cycles that are due
-- as:    view
-- why:   a cart is active over [switched on, switched off): all changes of one instant are added up before anything
--        is counted, so one off and another on never overlap. The row of 0 at each segment's start shows what is
--        carried in.
with steps as (
    select
        subscription_id,
        category_after as category,
        changed_at as active_from,
        1 as step
    from cart_changes
    where category_after is not null
    union all
    select
        subscription_id,
        category_before as category,
        changed_at as active_from,
        -1 as step
    from cart_changes
    where category_before is not null
),

categories as (
    select distinct
        subscription_id,
        category
    from steps
),

segments as (
    select
        s.subscription_id,
        s.cycle_start,
        s.segment_from,
        s.segment_until,
        row_number() over (partition by s.subscription_id order by s.segment_from) as segment
    from active_segments as s
    inner join cycles_due as due on s.subscription_id = due.subscription_id and s.cycle_start = due.cycle_start
),

marked as (
    select
        subscription_id,
        category,
        active_from,
        step,
        null as segment
    from steps
    union all
    select
        segments.subscription_id,
        categories.category,
        segments.segment_from as active_from,
        0 as step,
        segments.segment
    from segments
    inner join categories on segments.subscription_id = categories.subscription_id
),

instants as (
    select
        subscription_id,
        category,
        active_from,
        cast(sum(step) as bigint) as step,
        max(segment) as segment
    from marked
    group by subscription_id, category, active_from
),

running as (
    select
        subscription_id,
        category,
        active_from,
        sum(step) over instants_before as carts,
        max(segment) over instants_before as segment
    from instants
    window instants_before as (
        partition by subscription_id, category order by active_from
        rows between unbounded preceding and current row
    )
)

select
    running.subscription_id,
    running.category,
    running.active_from,
    cast(running.carts as bigint) as carts,
    segments.cycle_start
from running
inner join segments on running.subscription_id = segments.subscription_id and running.segment = segments.segment
where running.active_from < segments.segment_until
