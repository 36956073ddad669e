-- 130_subscription_starts: each subscription with its start, its account and its rate card.
--
-- in:    subscription_rows, accounts, rate_card_versions
-- out:   subscription_id | started_at, account_id, bill_to_account_id, rate_card, time_zone, account_created_at, ...
-- grain: one row per subscription that has started
-- why:   a subscription begins with its earliest started row; a repeated one changes nothing.
with ranked as (
    select
        *,
        max(revision) over (partition by subscription_id, effective_at) as revision_in_force
    from subscription_rows
    where arrival = 1 and fault is null
),

starts as (
    select
        *,
        row_number() over (partition by subscription_id order by effective_at) as age
    from ranked
    where revision = revision_in_force and not voided and event = 'started'
),

cards as (
    select distinct
        rate_card,
        time_zone
    from rate_card_versions
)

select
    starts.subscription_id,
    starts.effective_at as started_at,
    starts.account_id,
    coalesce(accounts.master_account_id, accounts.account_id) as bill_to_account_id,
    starts.rate_card,
    coalesce(accounts.time_zone, cards.time_zone) as time_zone,
    cards.time_zone as card_time_zone,
    accounts.created_at as account_created_at,
    accounts.updated_at as account_updated_at,
    accounts.revision as account_revision,
    starts.file,
    starts.row_number
from starts
inner join accounts on starts.account_id = accounts.account_id
inner join cards on starts.rate_card = cards.rate_card
where starts.age = 1
