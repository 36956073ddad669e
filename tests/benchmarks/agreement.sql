-- Where a rival and the product say otherwise of a cycle that has ended. No row may come out.
--
-- why: charges are named as their meters and categories. Invoices are no charge of their own: they show in how much of
--      the minimum of the order items was reached.
with figures as (
    select
        charge as figure,
        subscription_id,
        cycle_start,
        quantity as published,
        0 as counted
    from usage_history
    union all
    select
        'minimum reached' as figure,
        subscription_id,
        cycle_start,
        minimum - shortfall as published,
        0 as counted
    from usage_history
    where charge = 'order_items'
    union all
    select
        'clipped cents' as figure,
        subscription_id,
        cycle_start,
        clipped * 100 as published,
        0 as counted
    from usage_history
    union all
    select
        meter as figure,
        subscription_id,
        cycle_start,
        0 as published,
        quantity as counted
    from quantities
    where meter <> 'invoices'
    union all
    select
        'minimum reached' as figure,
        quantities.subscription_id,
        quantities.cycle_start,
        0 as published,
        least(quantities.quantity, usage_history.minimum) as counted
    from quantities
    inner join usage_history
        on
            quantities.subscription_id = usage_history.subscription_id
            and quantities.cycle_start = usage_history.cycle_start
            and usage_history.charge = 'order_items'
    where quantities.meter = 'invoices'
    union all
    select
        category as figure,
        subscription_id,
        cycle_start,
        0 as published,
        carts as counted
    from peaks
    union all
    select
        'clipped cents' as figure,
        subscription_id,
        cycle_start,
        0 as published,
        clipped as counted
    from clipped
)

select
    figure,
    subscription_id,
    cycle_start,
    sum(published) as published,
    sum(counted) as counted
from figures
group by figure, subscription_id, cycle_start
having sum(published) <> sum(counted)
order by figure, subscription_id, cycle_start
