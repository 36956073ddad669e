-- 140_subscriptions_judged: each subscription row, and whether it counts.
--
-- in:    subscription_rows, subscription_starts, late_rows
-- out:   run_number, file, row_number | the row, verdict, reason, detail
-- grain: one row per subscription row ever read
with compared as (
    select
        subscription_rows.*,
        case
            when subscription_rows.fault is not null then subscription_rows.fault
            when late.feed is not null then 'late'
            when subscription_rows.voided then null
            when starts.subscription_id is null or subscription_rows.effective_at < starts.started_at
                then 'unknown_subscription'
            when subscription_rows.account_id <> starts.account_id then 'unknown_account'
            when subscription_rows.rate_card <> starts.rate_card then 'unknown_rate_card'
        end as misfit,
        case
            when subscription_rows.fault is not null then subscription_rows.fault_detail
            when late.feed is not null
                then 'it would change a bill from before the correction window; a wider --correction-window lets it in'
            when starts.subscription_id is null then 'no started row of this subscription is known yet'
            when subscription_rows.effective_at < starts.started_at then 'before the subscription started'
            when subscription_rows.account_id <> starts.account_id
                then 'the subscription belongs to another account since its start; start a new subscription'
            when subscription_rows.rate_card <> starts.rate_card
                then 'the subscription is on another rate card since its start; start a new subscription'
        end as misfit_detail
    from subscription_rows
    left join subscription_starts as starts on subscription_rows.subscription_id = starts.subscription_id
    left join late_rows as late
        on
            late.feed = 'subscriptions'
            and subscription_rows.run_number = late.run_number
            and subscription_rows.file = late.file
            and subscription_rows.row_number = late.row_number
),

ranked as (
    select
        *,
        max(case when not is_conflict and misfit is null then revision end)
            over (partition by subscription_id, effective_at) as revision_in_force
    from compared
)

select
    subscription_id,
    effective_at,
    account_id,
    rate_card,
    plan,
    event,
    takes_effect,
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
            then 'another row of this subscription_id, effective_at and revision says otherwise; send a higher revision'
        else misfit_detail
    end as detail
from ranked
