-- 170_snapshots: each snapshot with its size, and whether it is held as incomplete.
--
-- in:    cart_snapshot_rows, known_approvals, policies
-- out:   snapshot_at | active_carts, is_incomplete
-- grain: one row per instant of which a snapshot is known
-- why:   a listing cut short by a failed export would switch off every cart it lacks. Its size counts all rows that
--        could be read, also those of unknown subscriptions: it is the export that is judged, not the customers. One
--        that is approved counts as it is.
with sizes as (
    select
        snapshot_at,
        count(case when is_active and not is_conflict then 1 end) as active_carts
    from cart_snapshot_rows
    where
        not is_late
        and (misfit = 'refused' or is_conflict or (arrival = 1 and revision = revision_highest and not voided))
    group by snapshot_at
),

in_order as (
    select
        *,
        lag(active_carts) over (order by snapshot_at) as active_carts_before
    from sizes
),

approved as (
    select distinct snapshot_at
    from known_approvals
)

select
    in_order.snapshot_at,
    in_order.active_carts,
    coalesce(
        in_order.active_carts < policies.min_snapshot_share * in_order.active_carts_before
        and approved.snapshot_at is null,
        false
    ) as is_incomplete
from in_order
cross join policies
left join approved on in_order.snapshot_at = approved.snapshot_at
