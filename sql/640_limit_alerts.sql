-- 640_limit_alerts: the thresholds of spending limits that open cycles have reached, and no earlier run reported.
--
-- in:    usage_clipped, cycles_rated, alert_thresholds, alerts_before
-- out:   subscription_id, cycle_start, limit_amount, threshold | reached_at, event_id
-- grain: one row per cycle, limit and threshold reached
-- why:   reported once per limit and cycle, by the first run that knows of it, while something can still be done.
with reached as (
    select
        clipped.subscription_id,
        clipped.cycle_start,
        clipped.limit_amount,
        thresholds.threshold,
        clipped.instant as reached_at,
        clipped.event_id,
        row_number() over (
            partition by clipped.subscription_id, clipped.cycle_start, clipped.limit_amount, thresholds.threshold
            order by clipped.instant, clipped.event_id
        ) as place
    from usage_clipped as clipped
    inner join cycles_rated as cycles
        on clipped.subscription_id = cycles.subscription_id and clipped.cycle_start = cycles.cycle_start
    inner join alert_thresholds as thresholds
        on
            cycles.rate_card = thresholds.rate_card
            and cycles.rate_card_version = thresholds.rate_card_version
            and clipped.billed >= thresholds.threshold * clipped.limit_amount
    where cycles.is_watched and clipped.phase = 0
)

select
    reached.subscription_id,
    reached.cycle_start,
    reached.limit_amount,
    reached.threshold,
    reached.reached_at,
    reached.event_id
from reached
left join alerts_before as before
    on
        reached.subscription_id = before.subscription_id
        and reached.cycle_start = before.cycle_start
        and reached.limit_amount = before.limit_amount
        and reached.threshold = before.threshold
        and before.kind = 'spending_limit'
where reached.place = 1 and before.subscription_id is null
