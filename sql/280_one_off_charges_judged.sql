-- 280_one_off_charges_judged: each one-off row, and whether it counts.
--
-- in:    known_one_off_charges, subscription_starts, active_spans, billing_cycles, rate_card_versions, late_rows
-- out:   run_number, file, row_number | the row, cycle_start, verdict, reason, detail
-- grain: one row per one-off row ever read
-- why:   conflicts are looked for as among usage rows: within a cycle, once it is known.
with currencies as (
    select distinct
        rate_card,
        currency,
        minor_digits
    from rate_card_versions
),

placed as (
    select
        known.*,
        currencies.currency,
        case currencies.minor_digits
            when 0 then round(known.amount, 0) <> known.amount
            when 2 then round(known.amount, 2) <> known.amount
            when 3 then round(known.amount, 3) <> known.amount
        end as is_too_fine,
        late.feed is not null as is_late,
        starts.subscription_id is null as is_subscription_unknown,
        cycles.cycle_start,
        spans.active_from is null as is_outside
    from known_one_off_charges as known
    left join late_rows as late
        on
            late.feed = 'one_off_charges'
            and known.run_number = late.run_number
            and known.file = late.file
            and known.row_number = late.row_number
    left join subscription_starts as starts on known.subscription_id = starts.subscription_id
    left join currencies on starts.rate_card = currencies.rate_card
    left join billing_cycles as cycles
        on
            known.subscription_id = cycles.subscription_id
            and known.purchased_at >= cycles.starts_at
            and known.purchased_at < cycles.ends_at
    left join active_spans as spans
        on
            known.subscription_id = spans.subscription_id
            and known.purchased_at >= spans.active_from
            and (spans.active_until is null or known.purchased_at < spans.active_until)
),

told_apart as (
    select
        *,
        row_number() over arrivals as arrival,
        struct_pack(subscription_id, description, amount, purchased_at, voided)
        <> first_value(struct_pack(subscription_id, description, amount, purchased_at, voided))
            over arrivals
            as is_conflict,
        case
            when is_late then 'late'
            when voided then null
            when is_subscription_unknown then 'unknown_subscription'
            when is_too_fine then 'bad_value'
            when is_outside then 'outside_subscription'
        end as misfit
    from placed
    window arrivals as (
        partition by
            charge_id,
            revision,
            cycle_start,
            case
                when cycle_start is null then struct_pack(subscription_id, description, amount, purchased_at, voided)
            end
        order by run_number, file, row_number
    )
),

ranked as (
    select
        *,
        max(case when not is_conflict and misfit is null then revision end) over (partition by charge_id)
            as revision_in_force
    from told_apart
)

select
    charge_id,
    subscription_id,
    description,
    amount,
    purchased_at,
    revision,
    voided,
    run_number,
    file,
    row_number,
    cycle_start,
    case
        when is_conflict then 'rejected'
        when arrival > 1 then 'duplicate'
        when misfit = 'bad_value' then 'rejected'
        when revision < revision_in_force then 'superseded'
        when misfit is not null then 'held'
        when voided then 'voided'
        else 'counted'
    end as verdict,
    case when is_conflict then 'conflicting_duplicate' else misfit end as reason,
    case
        when is_conflict then 'another row of this charge_id and revision says otherwise; send a higher revision'
        when misfit = 'late'
            then 'it would change a bill from before the correction window; a wider --correction-window lets it in'
        when misfit = 'unknown_subscription' then 'no started row of this subscription is known yet'
        when misfit = 'bad_value' then 'amount is finer than ' || currency || ' allows'
        when misfit = 'outside_subscription' then 'the subscription is not active at purchased_at'
    end as detail
from ranked
