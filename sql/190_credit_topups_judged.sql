-- 190_credit_topups_judged: each top-up row, and whether it counts.
--
-- in:    known_credit_topups, accounts, subscription_starts, rate_card_versions
-- out:   run_number, file, row_number | the row, currency, time_zone, verdict, reason, detail
-- grain: one row per top-up row ever read
-- why:   a top-up names no currency: it is that of the prepaid rate cards whose invoices the account pays. Where they
--        have several, which one was bought is not known.
with told_apart as (
    select
        *,
        row_number() over arrivals as arrival,
        struct_pack(account_id, amount, purchased_at, voided)
        <> first_value(struct_pack(account_id, amount, purchased_at, voided)) over arrivals as is_conflict
    from known_credit_topups
    window arrivals as (partition by topup_id, revision order by run_number, file, row_number)
),

prepaid as (
    select
        starts.bill_to_account_id as account_id,
        min(versions.currency) as currency,
        min(versions.currency) <> max(versions.currency) as has_several,
        min(versions.time_zone) as time_zone
    from subscription_starts as starts
    inner join rate_card_versions as versions
        on starts.rate_card = versions.rate_card and versions.settlement = 'prepaid_credits'
    group by starts.bill_to_account_id
),

compared as (
    select
        told_apart.*,
        prepaid.currency,
        prepaid.has_several,
        coalesce(accounts.time_zone, prepaid.time_zone) as time_zone,
        case
            when told_apart.voided then null
            when accounts.account_id is null then 'unknown_account'
            when prepaid.account_id is null or prepaid.has_several then 'unknown_rate_card'
        end as misfit
    from told_apart
    left join accounts on told_apart.account_id = accounts.account_id
    left join prepaid on told_apart.account_id = prepaid.account_id
),

ranked as (
    select
        *,
        max(case when not is_conflict and misfit is null then revision end) over (partition by topup_id)
            as revision_in_force
    from compared
)

select
    topup_id,
    account_id,
    amount,
    purchased_at,
    currency,
    time_zone,
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
        when is_conflict then 'another row of this topup_id and revision says otherwise; send a higher revision'
        when misfit = 'unknown_account' then 'accounts has no such account_id yet'
        when misfit = 'unknown_rate_card' and has_several
            then 'the account pays in prepaid credits of several currencies, and a top-up names none'
        when misfit = 'unknown_rate_card'
            then 'the account pays for no subscription on a rate card settled by prepaid credits'
    end as detail
from ranked
