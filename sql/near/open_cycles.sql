-- open_cycles: the cycles that a preview rates and that are not invoiced yet.
--
-- in:    cycles_rated, subscription_starts, rate_card_versions, midnights
-- out:   subscription_id, cycle_start | account_id, cycle_end, starts_at, ends_at, midnight_after, rate_card, ...
-- grain: one row per cycle
-- why:   a preview ends the open cycle on as_of (ends_at); the edge where the next one begins is midnight_after.
select
    cycles.subscription_id,
    cycles.cycle_start,
    starts.account_id,
    cycles.cycle_end,
    cycles.starts_at,
    cycles.ends_at,
    midnights.starts_at as midnight_after,
    cycles.is_first,
    cycles.rate_card,
    cycles.rate_card_version,
    cycles.plan,
    versions.currency,
    versions.minor_digits,
    versions.spending_limit_default
from cycles_rated as cycles
inner join subscription_starts as starts on cycles.subscription_id = starts.subscription_id
inner join rate_card_versions as versions
    on cycles.rate_card = versions.rate_card and cycles.rate_card_version = versions.rate_card_version
inner join midnights on starts.time_zone = midnights.time_zone and cycles.cycle_end = midnights.local_date
where not cycles.is_issued
