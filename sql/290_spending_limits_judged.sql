-- 290_spending_limits_judged: each agreed spending limit, and whether it counts.
--
-- in:    known_spending_limits, subscription_starts, billing_cycles, rate_card_versions, late_rows
-- out:   run_number, file, row_number | the row, verdict, reason, detail
-- grain: one row per spending limit row ever read
-- why:   page 004: the new amount must be greater than the current limit. In force is the highest agreed so far, or
--        before any the rate card's own: once one was agreed above it, the card's own counts no more.
with told_apart as (
    select
        *,
        row_number() over arrivals as arrival,
        struct_pack(limit_amount, voided)
        <> first_value(struct_pack(limit_amount, voided)) over arrivals as is_conflict
    from known_spending_limits
    window arrivals as (
        partition by subscription_id, agreed_at, revision
        order by run_number, file, row_number
    )
),

compared as (
    select
        told_apart.*,
        late.feed is not null as is_late,
        starts.subscription_id is null as is_subscription_unknown,
        versions.spending_limit_default
    from told_apart
    left join late_rows as late
        on
            late.feed = 'spending_limits'
            and told_apart.run_number = late.run_number
            and told_apart.file = late.file
            and told_apart.row_number = late.row_number
    left join subscription_starts as starts on told_apart.subscription_id = starts.subscription_id
    left join billing_cycles as cycles
        on
            told_apart.subscription_id = cycles.subscription_id
            and told_apart.agreed_at >= cycles.starts_at
            and told_apart.agreed_at < cycles.ends_at
    left join rate_card_versions as versions
        on starts.rate_card = versions.rate_card and cycles.rate_card_version = versions.rate_card_version
),

standing as (
    select
        *,
        max(case when not is_late then revision end)
            over (partition by subscription_id, agreed_at) as revision_standing
    from compared
),

candidates as (
    select
        *,
        case
            when not is_conflict and not is_late and not voided and revision = revision_standing then limit_amount
        end as amount_standing
    from standing
),

firsts as (
    select
        *,
        min(
            case when amount_standing > coalesce(spending_limit_default, -1) then agreed_at end
        ) over (partition by subscription_id) as first_raised_at
    from candidates
),

raised as (
    select
        *,
        coalesce(
            max(case when agreed_at >= first_raised_at then amount_standing end) over (
                partition by subscription_id order by agreed_at, revision, arrival
                rows between unbounded preceding and 1 preceding
            ),
            spending_limit_default
        ) as limit_before
    from firsts
),

fitted as (
    select
        *,
        case
            when is_late then 'late'
            when voided then null
            when is_subscription_unknown then 'unknown_subscription'
            when limit_amount <= limit_before then 'limit_not_raised'
        end as misfit
    from raised
),

ranked as (
    select
        *,
        max(case when not is_conflict and misfit is null then revision end)
            over (partition by subscription_id, agreed_at) as revision_in_force
    from fitted
)

select
    subscription_id,
    agreed_at,
    limit_amount,
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
            then 'another row of this subscription_id, agreed_at and revision says otherwise; send a higher revision'
        when misfit = 'late'
            then 'it would change a bill from before the correction window; a wider --correction-window lets it in'
        when misfit = 'unknown_subscription' then 'no started row of this subscription is known yet'
        when misfit = 'limit_not_raised'
            then 'limit_amount is not above the limit in force, ' || cast(limit_before as varchar)
    end as detail
from ranked
