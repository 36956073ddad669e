-- The floor: what any program has to do that bills these rows, and nothing else.

-- how many events there are, however often each was delivered
with events as (
    select distinct
        subscription_id,
        event_id
    from usage
)

select count(*) as events
from events;

-- what each subscription used of each meter
with sums as (
    select
        subscription_id,
        meter,
        sum(quantity) as quantity
    from usage
    group by subscription_id, meter
)

select
    count(*) as sums,
    sum(quantity) as quantity
from sums;

-- the most carts each subscription had at one time, all changes taken for real ones
with running as (
    select
        subscription_id,
        sum(case when state = 'active' then 1 else -1 end)
            over (partition by subscription_id order by occurred_at rows unbounded preceding) as carts
    from cart_events
),

peaks as (
    select
        subscription_id,
        max(carts) as carts_max
    from running
    group by subscription_id
)

select
    count(*) as peaks,
    sum(carts_max) as carts
from peaks;
