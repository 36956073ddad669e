-- 160_cart_snapshot_rows: each snapshot row, told apart from its repeats; a row without a state is one that was
--         refused.
--
-- in:    known_cart_snapshots, carts, peak_categories, late_rows
-- out:   run_number, file, row_number | snapshot_at, subscription_id, cart_number, category_number, revision, voided,
--        is_late, is_active, is_repeated, is_conflict, arrival, revision_highest, misfit
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
        known.snapshot_at,
        known.subscription_id,
        known.category,
        known.state,
        known.revision,
        known.voided,
        known.run_number,
        known.file,
        known.row_number,
        carts.cart_number,
        categories.category_number,
        late.snapshot_at is not null as is_late,
        case
            when known.state is null then 'refused'
            when carts.rate_card is null then 'unknown_subscription'
            when categories.category is null then 'unknown_category'
        end as misfit
    from known_cart_snapshots as known
    inner join carts on known.subscription_id = carts.subscription_id and known.cart_id = carts.cart_id
    left join peak_categories as categories
        on carts.rate_card = categories.rate_card and known.category = categories.category
    left join late on known.run_number = late.run_number and known.snapshot_at = late.snapshot_at
),

repeated as (
    select
        snapshot_at,
        cart_number,
        max(case when not is_late then revision end) as revision_highest
    from delivered
    group by snapshot_at, cart_number
    having count(*) > 1
),

known as (
    select
        delivered.*,
        repeated.snapshot_at is not null as is_repeated,
        coalesce(repeated.revision_highest, delivered.revision) as revision_highest
    from delivered
    left join repeated
        on delivered.snapshot_at = repeated.snapshot_at and delivered.cart_number = repeated.cart_number
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
        partition by snapshot_at, cart_number, revision, state is null
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
)

select
    snapshot_at,
    subscription_id,
    cart_number,
    revision,
    voided,
    run_number,
    file,
    row_number,
    is_late,
    is_repeated,
    is_conflict,
    arrival,
    revision_highest,
    misfit,
    state = 'active' as is_active,
    case when state = 'active' then category_number else 0 end as category_number
from numbered
