-- 16_cart_snapshot_rows: each snapshot row, told apart from its repeats; a row without a state is one that was refused.
--
-- in:    known_cart_snapshots, subscription_starts, charges
-- out:   run_number, file, row_number | the row, is_repeated, is_conflict, arrival, revision_highest, misfit
-- grain: one row per snapshot row ever read whose ids could be read
-- why:   rows are ordered only where a key has several, for most have one.
with repeated as (
    select
        snapshot_at,
        subscription_id,
        cart_id,
        max(revision) as revision_highest
    from known_cart_snapshots
    group by snapshot_at, subscription_id, cart_id
    having count(*) > 1
),

known as (
    select
        known_cart_snapshots.*,
        known_cart_snapshots.state is null as is_refused,
        repeated.revision_highest is not null as is_repeated,
        coalesce(repeated.revision_highest, known_cart_snapshots.revision) as revision_highest
    from known_cart_snapshots
    left join repeated
        on
            known_cart_snapshots.snapshot_at = repeated.snapshot_at
            and known_cart_snapshots.subscription_id = repeated.subscription_id
            and known_cart_snapshots.cart_id = repeated.cart_id
),

told_apart as (
    select
        *,
        row_number() over arrivals as arrival,
        struct_pack(category, state, voided)
        <> first_value(struct_pack(category, state, voided)) over arrivals as is_conflict
    from known
    where is_repeated
    window arrivals as (
        partition by snapshot_at, subscription_id, cart_id, revision, is_refused
        order by run_number, file, row_number
    )
),

numbered as (
    select *
    from told_apart
    union all
    select
        *,
        1 as arrival,
        false as is_conflict
    from known
    where not is_repeated
),

categories as (
    select distinct
        rate_card,
        category
    from charges
    where kind = 'peak'
)

select
    numbered.snapshot_at,
    numbered.subscription_id,
    numbered.cart_id,
    numbered.category,
    numbered.state,
    numbered.revision,
    numbered.voided,
    numbered.run_number,
    numbered.file,
    numbered.row_number,
    numbered.is_refused,
    numbered.is_repeated,
    numbered.is_conflict,
    numbered.arrival,
    numbered.revision_highest,
    case
        when numbered.is_refused then 'refused'
        when starts.subscription_id is null then 'unknown_subscription'
        when categories.category is null then 'unknown_category'
    end as misfit
from numbered
left join subscription_starts as starts on numbered.subscription_id = starts.subscription_id
left join categories on starts.rate_card = categories.rate_card and numbered.category = categories.category
