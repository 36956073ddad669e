-- 39_cycles_limited: the rated cycles in which a spending limit is in force at some instant.
--
-- in:    cycles_rated, rate_card_versions, spending_limits_judged
-- out:   subscription_id, cycle_start | rate_card, rate_card_version, ends_at, limit_default
-- grain: one row per rated cycle with a limit
with agreed as (
    select
        subscription_id,
        min(agreed_at) as first_agreed_at
    from spending_limits_judged
    where verdict = 'counted'
    group by subscription_id
)

select
    cycles.subscription_id,
    cycles.cycle_start,
    cycles.rate_card,
    cycles.rate_card_version,
    cycles.ends_at,
    versions.spending_limit_default as limit_default
from cycles_rated as cycles
inner join rate_card_versions as versions
    on cycles.rate_card = versions.rate_card and cycles.rate_card_version = versions.rate_card_version
left join agreed on cycles.subscription_id = agreed.subscription_id
where versions.spending_limit_default is not null or agreed.first_agreed_at < cycles.ends_at
