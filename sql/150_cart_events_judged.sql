-- 150_cart_events_judged: each cart event, and whether it counts.
--
-- in:    known_cart_events, subscription_starts, charges, late_rows
-- out:   run_number, file, row_number | the row, verdict, reason, detail
-- grain: one row per cart event ever read
-- why:   a voided row says nothing that could be held: it only takes its row out. Rows are ordered only where a key has
--        several, for most have one.
with repeated as (
    select
        subscription_id,
        cart_id,
        occurred_at
    from known_cart_events
    group by subscription_id, cart_id, occurred_at
    having count(*) > 1
),

categories as (
    select distinct
        rate_card,
        category
    from charges
    where kind = 'peak'
),

compared as (
    select
        known.*,
        repeated.subscription_id is not null as is_repeated,
        case
            when late.feed is not null then 'late'
            when known.voided then null
            when starts.subscription_id is null then 'unknown_subscription'
            when categories.category is null then 'unknown_category'
        end as misfit
    from known_cart_events as known
    left join repeated
        on
            known.subscription_id = repeated.subscription_id
            and known.cart_id = repeated.cart_id
            and known.occurred_at = repeated.occurred_at
    left join subscription_starts as starts on known.subscription_id = starts.subscription_id
    left join categories on starts.rate_card = categories.rate_card and known.category = categories.category
    left join late_rows as late
        on
            late.feed = 'cart_events'
            and known.run_number = late.run_number
            and known.file = late.file
            and known.row_number = late.row_number
),

told_apart as (
    select
        *,
        row_number() over arrivals as arrival,
        struct_pack(category, state, voided)
        <> first_value(struct_pack(category, state, voided)) over arrivals as is_conflict
    from compared
    where is_repeated
    window arrivals as (
        partition by subscription_id, cart_id, occurred_at, revision
        order by run_number, file, row_number
    )
),

ranked as (
    select
        *,
        max(case when not is_conflict and misfit is null then revision end)
            over (partition by subscription_id, cart_id, occurred_at) as revision_in_force
    from told_apart
    union all
    select
        *,
        1 as arrival,
        false as is_conflict,
        revision as revision_in_force
    from compared
    where not is_repeated
)

select
    subscription_id,
    cart_id,
    occurred_at,
    category,
    state,
    revision,
    voided,
    run_number,
    file,
    row_number,
    case
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
                'another row of this subscription_id, cart_id, occurred_at and revision says otherwise; '
                || 'send a higher revision'
        when misfit = 'late'
            then 'it would change a bill from before the correction window; a wider --correction-window lets it in'
        when misfit = 'unknown_subscription' then 'no started row of this subscription is known yet'
        when misfit = 'unknown_category' then 'no version of the rate card has a peak charge for this category'
    end as detail
from ranked
