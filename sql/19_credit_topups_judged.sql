-- 19_credit_topups_judged: each top-up row, and whether it counts.
--
-- in:    known_credit_topups, accounts
-- out:   run_number, file, row_number | the row, verdict, reason, detail
-- grain: one row per top-up row ever read
with told_apart as (
    select
        *,
        row_number() over arrivals as arrival,
        struct_pack(account_id, amount, purchased_at, voided)
        <> first_value(struct_pack(account_id, amount, purchased_at, voided)) over arrivals as is_conflict
    from known_credit_topups
    window arrivals as (partition by topup_id, revision order by run_number, file, row_number)
),

compared as (
    select
        told_apart.*,
        case when accounts.account_id is null and not told_apart.voided then 'unknown_account' end as misfit
    from told_apart
    left join accounts on told_apart.account_id = accounts.account_id
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
    end as detail
from ranked
