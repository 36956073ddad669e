-- 150_cart_events_judged: each cart event, and whether it counts.
--
-- in:    cart_events_compared
-- out:   run_number, file, row_number | subscription_id, occurred_at, cart_number, category_number, verdict, reason,
--        detail
-- grain: one row per cart event ever read
-- why:   rows are ordered only where a key has several, for most have one. Of what a row says only its cart and
--        category are kept, 0 where the cart is not active: texts cost the most to write.
with told_apart as (
    select
        *,
        row_number() over arrivals as arrival,
        struct_pack(category, state, voided)
        <> first_value(struct_pack(category, state, voided)) over arrivals as is_conflict
    from cart_events_compared
    where is_repeated
    window arrivals as (
        partition by cart_number, occurred_at, revision
        order by run_number, file, row_number
    )
),

ranked as (
    select
        *,
        max(case when not is_conflict and misfit is null then revision end)
            over (partition by cart_number, occurred_at) as revision_in_force
    from told_apart
    union all
    select
        *,
        1 as arrival,
        false as is_conflict,
        revision as revision_in_force
    from cart_events_compared
    where not is_repeated
)

select
    subscription_id,
    occurred_at,
    run_number,
    file,
    row_number,
    cart_number,
    case when state = 'active' then category_number else 0 end as category_number,
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
