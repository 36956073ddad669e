-- 460_invoices_due: the invoices to issue now, and the issued ones to work out again, without their totals.
--
-- in:    cycles_due, openings_due, invoices_touched, subscription_starts, rate_card_versions
-- out:   subscription_id, kind, cycle_start | invoice_id, is_issued, cycle_end, issue_date, due_date, ...
-- grain: one row per invoice: one of kind cycle for each cycle due, one of kind opening for each opening due, and each
--        invoice touched, also where late rows leave its cycle without an active instant
-- why:   an invoice's id follows from what it bills, so that a run repeated gives the same one. An opening invoice is
--        not due before the first bill (page 004).
with due as (
    select
        'cycle' as kind,
        subscription_id,
        cycle_start,
        cycle_end,
        cycle_end as issue_date,
        rate_card,
        rate_card_version,
        plan,
        false as is_issued
    from cycles_due
    where not is_issued
    union all
    select
        'opening' as kind,
        subscription_id,
        cycle_start,
        cycle_end,
        started_date as issue_date,
        rate_card,
        rate_card_version,
        cast(null as varchar) as plan,
        false as is_issued
    from openings_due
    union all
    select
        touched.kind,
        touched.subscription_id,
        touched.cycle_start,
        touched.cycle_end,
        cast(null as date) as issue_date,
        touched.rate_card,
        touched.rate_card_version,
        cycles.plan,
        true as is_issued
    from invoices_touched as touched
    left join cycles_due as cycles
        on
            touched.subscription_id = cycles.subscription_id
            and touched.cycle_start = cycles.cycle_start
            and touched.kind = 'cycle'
)

select
    due.*,
    'in_' || left(sha256(due.kind || ' ' || cast(due.cycle_start as varchar) || ' ' || due.subscription_id), 32)
        as invoice_id,
    case when not due.is_issued then due.cycle_end + versions.payment_days end as due_date,
    starts.account_id,
    starts.bill_to_account_id,
    starts.time_zone,
    versions.currency,
    versions.minor_digits,
    versions.rounding,
    versions.settlement
from due
inner join subscription_starts as starts on due.subscription_id = starts.subscription_id
inner join rate_card_versions as versions
    on due.rate_card = versions.rate_card and due.rate_card_version = versions.rate_card_version
