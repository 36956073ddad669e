-- 180_cart_snapshots_judged: each snapshot row, and whether it counts.
--
-- in:    cart_snapshot_rows, snapshots
-- out:   run_number, file, row_number | snapshot_at, subscription_id, cart_number, category_number, is_late,
--        is_repeated, verdict, reason, detail
-- grain: one row per snapshot row ever read whose ids could be read
-- why:   verdict `refused` is a row that was rejected when it was read: it only lists its cart.
with compared as (
    select
        r.snapshot_at,
        r.subscription_id,
        r.cart_number,
        r.category_number,
        r.revision,
        r.voided,
        r.run_number,
        r.file,
        r.row_number,
        r.is_late,
        r.is_repeated,
        r.is_conflict,
        r.arrival,
        case
            when r.misfit = 'refused' then 'refused'
            when r.is_late then 'late'
            when r.voided then null
            when snapshots.is_incomplete then 'incomplete_snapshot'
            else r.misfit
        end as misfit
    from cart_snapshot_rows as r
    left join snapshots on r.snapshot_at = snapshots.snapshot_at
),

ranked as (
    select
        *,
        max(case when not is_conflict and misfit is null then revision end)
            over (partition by snapshot_at, cart_number) as revision_in_force
    from compared
    where is_repeated
    union all
    select
        *,
        revision as revision_in_force
    from compared
    where not is_repeated
)

select
    snapshot_at,
    subscription_id,
    cart_number,
    category_number,
    run_number,
    file,
    row_number,
    is_late,
    is_repeated,
    case
        when misfit = 'refused' then 'refused'
        when is_conflict then 'rejected'
        when arrival > 1 then 'duplicate'
        when revision < revision_in_force then 'superseded'
        when misfit is not null then 'held'
        when voided then 'voided'
        else 'counted'
    end as verdict,
    case when is_conflict then 'conflicting_duplicate' else misfit end as reason,
    case
        when is_conflict
            then
                'another row of this snapshot_at, subscription_id, cart_id and revision says otherwise; '
                || 'send a higher revision'
        when misfit = 'late'
            then 'it would change a bill from before the correction window; a wider --correction-window lets it in'
        when misfit = 'unknown_subscription' then 'no started row of this subscription is known yet'
        when misfit = 'unknown_category' then 'no version of the rate card has a peak charge for this category'
        when misfit = 'incomplete_snapshot'
            then
                'the snapshot lists too few active carts against the one before; send it whole, or lower '
                || '--min-snapshot-share if it is'
    end as detail
from ranked
