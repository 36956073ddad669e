-- 160_cart_snapshot_rows: each snapshot row, told apart from its repeats; a row without a state is one that was
--         refused.
--
-- in:    known_cart_snapshots, subscription_starts, charges, late_rows
-- out:   run_number, file, row_number | the row, is_late, is_repeated, is_conflict, arrival, revision_highest, misfit
-- grain: one row per snapshot row ever read whose ids could be read
-- why:   rows are ordered only where a key has several, for most have one.
with late as (
    select distinct
        known.run_number,
        known.snapshot_at
    from known_cart_snapshots as known
    inner join late_rows
        on
            known.run_number = late_rows.run_number
            and known.file = late_rows.file
            and known.row_number = late_rows.row_number
    where late_rows.feed = 'cart_snapshots'
),

delivered as (
    select
        known.*,
        late.snapshot_at is not null as is_late,
        known.state is null as is_refused
    from known_cart_snapshots as known
    left join late on known.run_number = late.run_number and known.snapshot_at = late.snapshot_at
),

repeated as (
    select
        snapshot_at,
        subscription_id,
        cart_id,
        max(case when not is_late then revision end) as revision_highest
    from delivered
    group by snapshot_at, subscription_id, cart_id
    having count(*) > 1
),

known as (
    select
        delivered.*,
        repeated.snapshot_at is not null as is_repeated,
        coalesce(repeated.revision_highest, delivered.revision) as revision_highest
    from delivered
    left join repeated
        on
            delivered.snapshot_at = repeated.snapshot_at
            and delivered.subscription_id = repeated.subscription_id
            and delivered.cart_id = repeated.cart_id
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
    numbered.is_late,
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
