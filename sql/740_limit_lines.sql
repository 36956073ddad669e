-- 740_limit_lines: the line that brings a cycle's usage to its spending limit.
--
-- in:    invoices_due, lines, rounded_figures, usage_limited
-- out:   invoice_id | amount, clipped, limit_amount, ...
-- grain: one row per invoice on which usage was clipped, or its rounded lines would pass the limit
-- why:   running totals are exact; one negative line brings the cycle's usage, minimum and cap lines to the rounded
--        running total.
with usage_lines as (
    select
        invoice_id,
        sum(amount) as amount_of_lines
    from lines
    where kind in ('usage', 'minimum', 'cap')
    group by invoice_id
)

select
    invoices.invoice_id,
    invoices.subscription_id,
    invoices.cycle_start,
    limited.limit_amount,
    limited.clipped,
    limited.amount_exact,
    usage_lines.amount_of_lines,
    cast(figures.amount - usage_lines.amount_of_lines as decimal(20, 4)) as amount
from invoices_due as invoices
inner join usage_lines on invoices.invoice_id = usage_lines.invoice_id
inner join usage_limited as limited
    on
        invoices.subscription_id = limited.subscription_id
        and invoices.cycle_start = limited.cycle_start
        and invoices.kind = 'cycle'
inner join rounded_figures as figures
    on invoices.invoice_id = figures.invoice_id and figures.figure = 'limited'
where
    (limited.clipped > 0 or usage_lines.amount_of_lines > limited.amount_max)
    and figures.amount < usage_lines.amount_of_lines
