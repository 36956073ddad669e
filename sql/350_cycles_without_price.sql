-- 350_cycles_without_price: cycles that have begun and that no version of their rate card prices.
--
-- in:    active_cycles, active_segments, plan_spans, subscription_starts, rate_card_versions, plans, issued_cycles,
--        invoices_touched
-- out:   subscription_id, cycle_start, plan | rate_card, rate_card_version, effective_from_first, plans_known, file,
--        row_number, is_issued
-- grain: one row per cycle and plan in force in it that cannot be priced
-- why:   a cycle to invoice stops the run, for its card can still be mended. The card of an issued one cannot, so the
--        late change to a plan it lacks holds the correction, and the night goes on.
with known as (
    select
        rate_card,
        rate_card_version,
        string_agg(plan, ', ' order by plan) as plans_known
    from plans
    group by rate_card, rate_card_version
),

begun as (
    select
        cycles.*,
        issued.subscription_id is not null as is_issued
    from active_cycles as cycles
    left join issued_cycles as issued
        on
            cycles.subscription_id = issued.subscription_id
            and cycles.cycle_start = issued.cycle_start
            and issued.kind = 'cycle'
    left join invoices_touched as touched on issued.invoice_id = touched.invoice_id
    where issued.subscription_id is null or touched.invoice_id is not null
),

used as (
    select distinct
        segments.subscription_id,
        segments.cycle_start,
        spans.plan
    from active_segments as segments
    inner join plan_spans as spans
        on
            segments.subscription_id = spans.subscription_id
            and segments.segment_until > spans.plan_from
            and (spans.plan_until is null or segments.segment_from < spans.plan_until)
),

firsts as (
    select
        rate_card,
        min(effective_from) as effective_from_first
    from rate_card_versions
    group by rate_card
)

select
    begun.subscription_id,
    begun.cycle_start,
    begun.rate_card,
    begun.rate_card_version,
    used.plan,
    firsts.effective_from_first,
    known.plans_known,
    starts.file,
    starts.row_number,
    begun.is_issued
from begun
inner join used on begun.subscription_id = used.subscription_id and begun.cycle_start = used.cycle_start
inner join subscription_starts as starts on begun.subscription_id = starts.subscription_id
inner join firsts on begun.rate_card = firsts.rate_card
left join known on begun.rate_card = known.rate_card and begun.rate_card_version = known.rate_card_version
left join plans
    on
        begun.rate_card = plans.rate_card
        and begun.rate_card_version = plans.rate_card_version
        and used.plan = plans.plan
where plans.plan is null
