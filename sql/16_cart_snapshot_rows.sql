-- 16_cart_snapshot_rows: each snapshot row, told apart from its repeats; a row without a state is one that was refused.
--
-- in:    known_cart_snapshots, subscription_starts, charges
-- out:   run_number, file, row_number | the row, is_conflict, arrival, misfit
-- grain: one row per snapshot row ever read whose ids could be read
with told_apart as (
    select
        *,
        state is null as is_refused,
        row_number() over arrivals as arrival,
        struct_pack(category, state, voided)
        <> first_value(struct_pack(category, state, voided)) over arrivals as is_conflict
    from known_cart_snapshots
    window arrivals as (
        partition by snapshot_at, subscription_id, cart_id, revision, state is null
        order by run_number, file, row_number
    )
),

categories as (
    select distinct
        rate_card,
        category
    from charges
    where kind = 'peak'
)

select
    told_apart.snapshot_at,
    told_apart.subscription_id,
    told_apart.cart_id,
    told_apart.category,
    told_apart.state,
    told_apart.revision,
    told_apart.voided,
    told_apart.run_number,
    told_apart.file,
    told_apart.row_number,
    told_apart.is_refused,
    told_apart.is_conflict,
    told_apart.arrival,
    case
        when told_apart.is_refused then 'refused'
        when starts.subscription_id is null then 'unknown_subscription'
        when categories.category is null then 'unknown_category'
    end as misfit
from told_apart
left join subscription_starts as starts on told_apart.subscription_id = starts.subscription_id
left join categories on starts.rate_card = categories.rate_card and told_apart.category = categories.category
