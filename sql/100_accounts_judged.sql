-- 100_accounts_judged: each account row, and whether it counts.
--
-- in:    known_accounts, issued_cycles
-- out:   run_number, file, row_number | the row, verdict, reason, detail
-- grain: one row per account row ever read
-- why:   of one key and revision the first to arrive stands; the highest revision that is not refused counts.
--        An account already invoiced keeps its zone and its creation: its cycles may not move. The row that they rest
--        on cannot be voided.
with told_apart as (
    select
        *,
        row_number() over arrivals as arrival,
        struct_pack(created_at, time_zone, master_account_id, name, voided)
        <> first_value(struct_pack(created_at, time_zone, master_account_id, name, voided)) over arrivals as is_conflict
    from known_accounts
    window arrivals as (
        partition by account_id, updated_at, revision
        order by run_number, file, row_number
    )
),

latest as (
    select
        account_id,
        account_updated_at,
        account_revision,
        row_number() over (partition by account_id order by issued_in_run desc) as age
    from issued_cycles
),

frozen as (
    select
        account_id,
        min(time_zone) as time_zone_min,
        max(time_zone) as time_zone_max,
        max(time_zone <> card_time_zone) as differs_from_card,
        min(account_created_at) as invoiced_created_at
    from issued_cycles
    group by account_id
),

invoiced as (
    select
        frozen.*,
        latest.account_updated_at,
        latest.account_revision
    from frozen
    inner join latest on frozen.account_id = latest.account_id and latest.age = 1
),

placed as (
    select
        told_apart.*,
        invoiced.time_zone_min,
        invoiced.time_zone_max,
        invoiced.differs_from_card,
        invoiced.invoiced_created_at,
        coalesce(
            told_apart.updated_at = invoiced.account_updated_at,
            told_apart.updated_at is null and invoiced.account_updated_at is null
        )
        and told_apart.revision > invoiced.account_revision as replaces_invoiced,
        coalesce(told_apart.updated_at > invoiced.account_updated_at, told_apart.updated_at is not null)
            as follows_invoiced
    from told_apart
    left join invoiced on told_apart.account_id = invoiced.account_id
),

fitted as (
    select
        *,
        coalesce(
            case
                when voided then replaces_invoiced
                else
                    (replaces_invoiced or follows_invoiced)
                    and (
                        (time_zone is null and differs_from_card)
                        or time_zone <> time_zone_min
                        or time_zone <> time_zone_max
                        or created_at <> invoiced_created_at
                    )
            end,
            false
        ) as would_move_cycles
    from placed
),

ranked as (
    select
        *,
        max(case when not is_conflict and not would_move_cycles then revision end)
            over (partition by account_id, updated_at) as revision_in_force
    from fitted
)

select
    account_id,
    updated_at,
    created_at,
    time_zone,
    master_account_id,
    name,
    revision,
    voided,
    run_number,
    file,
    row_number,
    case
        when is_conflict then 'rejected'
        when arrival > 1 then 'duplicate'
        when revision < revision_in_force then 'superseded'
        when would_move_cycles then 'held'
        when voided then 'voided'
        else 'counted'
    end as verdict,
    case
        when is_conflict then 'conflicting_duplicate'
        when would_move_cycles then 'would_move_cycles'
    end as reason,
    case
        when
            is_conflict
            then 'another row of this account_id, updated_at and revision says otherwise; send a higher revision'
        when would_move_cycles
            then 'another time_zone or created_at would move cycles that are already invoiced; open a new account'
    end as detail
from ranked
