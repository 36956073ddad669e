-- 15_cart_events_judged: each cart event, and whether it counts.
--
-- in:    known_cart_events, subscription_starts, charges
-- out:   run_number, file, row_number | the row, verdict, reason, detail
-- grain: one row per cart event ever read
-- why:   a voided row says nothing that could be held: it only takes its row out.
with told_apart as (
    select
        *,
        row_number() over arrivals as arrival,
        struct_pack(category, state, voided)
        <> first_value(struct_pack(category, state, voided)) over arrivals as is_conflict
    from known_cart_events
    window arrivals as (
        partition by subscription_id, cart_id, occurred_at, revision
        order by run_number, file, row_number
    )
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
        told_apart.*,
        case
            when told_apart.voided then null
            when starts.subscription_id is null then 'unknown_subscription'
            when categories.category is null then 'unknown_category'
        end as misfit
    from told_apart
    left join subscription_starts as starts on told_apart.subscription_id = starts.subscription_id
    left join categories on starts.rate_card = categories.rate_card and told_apart.category = categories.category
),

ranked as (
    select
        *,
        max(case when not is_conflict and misfit is null then revision end)
            over (partition by subscription_id, cart_id, occurred_at) as revision_in_force
    from compared
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
        when misfit = 'unknown_subscription' then 'no started row of this subscription is known yet'
        when misfit = 'unknown_category' then 'no version of the rate card has a peak charge for this category'
    end as detail
from ranked
