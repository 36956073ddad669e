-- 120_subscription_rows: each subscription row, told apart from its repeats and held against accounts and rate cards.
--
-- in:    known_subscriptions, accounts, rate_card_versions, plans, issued_cycles
-- out:   run_number, file, row_number | the row, is_conflict, arrival, fault, fault_detail
-- grain: one row per subscription row ever read
-- why:   a voided row says nothing that could be held. What a row may say depends on the subscription's start, and the
--        start on rows that fit: so the rows are told apart here, then the start is found, then they are judged.
with told_apart as (
    select
        *,
        row_number() over arrivals as arrival,
        struct_pack(account_id, rate_card, plan, event, takes_effect, voided)
        <> first_value(struct_pack(account_id, rate_card, plan, event, takes_effect, voided))
            over arrivals
            as is_conflict
    from known_subscriptions
    window arrivals as (
        partition by subscription_id, effective_at, revision
        order by run_number, file, row_number
    )
),

cards as (
    select distinct rate_card
    from rate_card_versions
),

plans_known as (
    select distinct
        rate_card,
        plan
    from plans
),

invoiced as (
    select
        subscription_id,
        min(started_at) as started_at,
        min(account_id) as account_id,
        min(rate_card) as rate_card
    from issued_cycles
    group by subscription_id
),

compared as (
    select
        told_apart.*,
        accounts.account_id is null as is_account_unknown,
        cards.rate_card is null as is_card_unknown,
        plans.plan is null as is_plan_unknown,
        (told_apart.event = 'started' and told_apart.effective_at < invoiced.started_at)
        or (
            told_apart.effective_at = invoiced.started_at
            and (
                told_apart.voided
                or told_apart.event <> 'started'
                or told_apart.account_id <> invoiced.account_id
                or told_apart.rate_card <> invoiced.rate_card
            )
        ) as would_move_cycles
    from told_apart
    left join accounts on told_apart.account_id = accounts.account_id
    left join cards on told_apart.rate_card = cards.rate_card
    left join plans_known as plans on told_apart.rate_card = plans.rate_card and told_apart.plan = plans.plan
    left join invoiced on told_apart.subscription_id = invoiced.subscription_id
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
    is_conflict,
    arrival,
    case
        when would_move_cycles then 'would_move_cycles'
        when voided then null
        when is_account_unknown then 'unknown_account'
        when is_card_unknown then 'unknown_rate_card'
        when is_plan_unknown then 'unknown_plan'
    end as fault,
    case
        when
            would_move_cycles
            then 'another start would move cycles that are already invoiced; start a new subscription'
        when is_account_unknown then 'accounts has no such account_id yet'
        when is_card_unknown then 'rate_cards/ has no such rate_card'
        when is_plan_unknown then 'no version of the rate card has this plan'
    end as fault_detail
from compared
