-- 890_held_invoices: the invoices that are worked out and not issued, as found now, with the run that found it so.
--
-- in:    invoices_decided, invoices_due, held_invoices_before, run_parameters
-- out:   invoice_id | the columns of the published table
-- grain: one row per held invoice; a correction is held under the id of the invoice it would correct
-- why:   held since is the first run that did not issue it, for whatever reason: up to then it agreed with its rows.
select
    coalesce(held.run_id, run_parameters.run_id) as run_id,
    coalesce(held.held_since, run_parameters.as_of) as held_since,
    decided.invoice_id,
    decided.kind,
    invoices.account_id,
    invoices.subscription_id,
    invoices.rate_card,
    invoices.currency,
    invoices.cycle_start,
    decided.total,
    decided.reason,
    case decided.reason
        when 'not_reproducible'
            then 'without what is new it does not come out as it was issued: the code has changed; or approve it'
        when 'without_price'
            then 'a plan that its rate card version lacks was in force in its cycle; void or revise that row'
        when 'max_change'
            then 'its total is above --max-change times the account''s last ones; approve it if it is right'
    end as detail
from invoices_decided as decided
inner join invoices_due as invoices on decided.invoice_id = invoices.invoice_id
cross join run_parameters
left join held_invoices_before as held on decided.invoice_id = held.invoice_id and decided.kind = held.kind
where decided.reason is not null
