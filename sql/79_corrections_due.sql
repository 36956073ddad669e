-- 79_corrections_due: the issued invoices whose lines differ now, and whether the difference may be issued.
--
-- in:    line_differences, lines_issued, lines_reproduced, invoices_touched, cycles_without_price, run_parameters
-- out:   invoice_id | correction_id, reason
-- grain: one row per issued invoice with a line that differs; an empty reason: its correction is issued now
-- why:   an invoice that cannot be worked out again as it was issued, from the rows known then, differs because the
--        code or a library has changed: nobody is billed for that.
with unlike as (
    select distinct coalesce(issued.invoice_id, reproduced.invoice_id) as invoice_id
    from lines_issued as issued
    full outer join lines_reproduced as reproduced
        on
            issued.invoice_id = reproduced.invoice_id
            and issued.kind = reproduced.kind
            and issued.charge = reproduced.charge
            and issued.plan = reproduced.plan
            and issued.fee_from = reproduced.fee_from
    where
        issued.invoice_id is null
        or (reproduced.invoice_id is null and (issued.quantity <> 0 or issued.amount <> 0))
        or issued.quantity <> reproduced.quantity
        or issued.amount <> reproduced.amount
),

unpriced as (
    select distinct touched.invoice_id
    from invoices_touched as touched
    inner join cycles_without_price as cycles
        on touched.subscription_id = cycles.subscription_id and touched.cycle_start = cycles.cycle_start
),

differing as (
    select distinct invoice_id
    from line_differences
)

select
    differing.invoice_id,
    'in_' || left(sha256('correction ' || run_parameters.run_id || ' ' || differing.invoice_id), 32) as correction_id,
    case
        when unpriced.invoice_id is not null then 'without_price'
        when unlike.invoice_id is not null then 'not_reproducible'
    end as reason
from differing
cross join run_parameters
left join unlike on differing.invoice_id = unlike.invoice_id
left join unpriced on differing.invoice_id = unpriced.invoice_id
