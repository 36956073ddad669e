-- 790_invoices_decided: each invoice worked out now, and whether it is issued or held.
--
-- in:    rated_lines, invoices_due, line_differences, lines_issued, lines_reproduced, invoices_touched,
--        invoices_before, held_invoices_before, cycles_without_price, known_approvals, policies, run_parameters
-- out:   invoice_id | issued_as, kind, total, reason
-- grain: one row per invoice to issue, and per issued invoice with a line that differs; an empty reason: it is issued
--        now, under the id issued_as
-- why:   an invoice that cannot be worked out again as it was issued, from the rows known then, differs because the
--        code or a library has changed: nobody is billed for that unasked. With max_change, nor for a total far above
--        the account's last three bills of that card. Who looks at it may approve it, for the total then seen; once it
--        is issued the approval is spent.
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
    select
        invoice_id,
        sum(amount) as total
    from line_differences
    group by invoice_id
),

totals as (
    select
        invoice_id,
        sum(amount) as total
    from rated_lines
    group by invoice_id
),

worked_out as (
    select
        invoices.invoice_id,
        invoices.invoice_id as issued_as,
        invoices.kind,
        invoices.account_id,
        invoices.rate_card,
        coalesce(totals.total, 0) as total
    from invoices_due as invoices
    left join totals on invoices.invoice_id = totals.invoice_id
    where not invoices.is_issued
    union all
    select
        differing.invoice_id,
        'in_' || left(sha256('correction ' || run_parameters.run_id || ' ' || differing.invoice_id), 32) as issued_as,
        'correction' as kind,
        invoices.account_id,
        invoices.rate_card,
        differing.total
    from differing
    inner join invoices_due as invoices on differing.invoice_id = invoices.invoice_id
    cross join run_parameters
),

in_order as (
    select
        account_id,
        rate_card,
        total,
        row_number() over (
            partition by account_id, rate_card order by cycle_end desc, invoice_number desc
        ) as age
    from invoices_before
    where kind = 'cycle'
),

usual as (
    select
        account_id,
        rate_card,
        max(total) as total_max
    from in_order
    where age <= 3
    group by account_id, rate_card
),

approved as (
    select distinct
        approvals.invoice_id,
        held.kind,
        approvals.total
    from known_approvals as approvals
    inner join held_invoices_before as held
        on approvals.invoice_id = held.invoice_id and approvals.run_number > cast(held.run_id as integer)
)

select
    worked_out.invoice_id,
    worked_out.issued_as,
    worked_out.kind,
    cast(worked_out.total as decimal(20, 4)) as total,
    case
        when unpriced.invoice_id is not null then 'without_price'
        when approved.invoice_id is not null then null
        when unlike.invoice_id is not null then 'not_reproducible'
        when worked_out.total > policies.max_change * usual.total_max then 'max_change'
    end as reason
from worked_out
cross join policies
left join unlike on worked_out.invoice_id = unlike.invoice_id and worked_out.kind = 'correction'
left join unpriced on worked_out.invoice_id = unpriced.invoice_id
left join usual on worked_out.account_id = usual.account_id and worked_out.rate_card = usual.rate_card
left join approved
    on
        worked_out.invoice_id = approved.invoice_id
        and worked_out.kind = approved.kind
        and worked_out.total = approved.total
