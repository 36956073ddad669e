-- 600_limits_in_force: the spending limit at each charged row and at each cycle's end.
--
-- in:    cycles_limited, running_quantities, spending_limits_judged
-- out:   subscription_id, instant, is_cycle_end | limit_agreed
-- grain: one row per subscription and instant, a row or the end of a cycle, for which the limit is asked for; empty
--        where none was agreed yet
-- why:   in force is the highest amount agreed up to and including the instant, in earlier cycles too. At a cycle's
--        end what was agreed before it counts.
with instants as (
    select distinct
        subscription_id,
        occurred_at as instant,
        2 as place,
        cast(null as decimal(20, 4)) as limit_amount
    from running_quantities
    union all
    select
        subscription_id,
        ends_at as instant,
        0 as place,
        cast(null as decimal(20, 4)) as limit_amount
    from cycles_limited
    union all
    select
        subscription_id,
        agreed_at as instant,
        1 as place,
        limit_amount
    from spending_limits_judged
    where verdict = 'counted'
),

running as (
    select
        subscription_id,
        instant,
        place,
        max(limit_amount) over (
            partition by subscription_id order by instant, place
            rows between unbounded preceding and current row
        ) as limit_agreed
    from instants
)

select
    subscription_id,
    instant,
    place = 0 as is_cycle_end,
    limit_agreed
from running
where place <> 1
