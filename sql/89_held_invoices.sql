-- 89_held_invoices: the invoices that are worked out and not issued, as found now, with the run that found it so.
--
-- in:    corrections_due, line_differences, invoices_before, held_invoices_before, run_parameters
-- out:   invoice_id | the columns of the published table
-- grain: one row per held invoice; a correction is held under the id of the invoice it would correct
with totals as (
    select
        invoice_id,
        sum(amount) as total
    from line_differences
    group by invoice_id
)

select
    coalesce(held.run_id, run_parameters.run_id) as run_id,
    coalesce(held.held_since, run_parameters.as_of) as held_since,
    corrections.invoice_id,
    'correction' as kind,
    before.account_id,
    before.subscription_id,
    before.rate_card,
    before.currency,
    before.cycle_start,
    cast(totals.total as decimal(20, 4)) as total,
    corrections.reason,
    case corrections.reason
        when 'not_reproducible'
            then 'without what is new this invoice does not come out as it was issued: the code has changed since'
        when 'without_price'
            then 'a plan that its rate card version lacks was in force in its cycle; void or revise that row'
    end as detail
from corrections_due as corrections
inner join totals on corrections.invoice_id = totals.invoice_id
inner join invoices_before as before on corrections.invoice_id = before.invoice_id
cross join run_parameters
left join held_invoices_before as held
    on corrections.invoice_id = held.invoice_id and held.kind = 'correction' and corrections.reason = held.reason
where corrections.reason is not null
