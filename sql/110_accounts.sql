-- 110_accounts: each account as its newest counted row has it.
--
-- in:    accounts_judged
-- out:   account_id | updated_at, created_at, time_zone, master_account_id, revision
-- grain: one row per account
with newest_first as (
    select
        *,
        row_number() over (partition by account_id order by updated_at desc nulls last) as age
    from accounts_judged
    where verdict = 'counted'
)

select
    account_id,
    updated_at,
    created_at,
    time_zone,
    master_account_id,
    revision
from newest_first
where age = 1
