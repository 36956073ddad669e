-- 720_charge_amounts: what each counted charge comes to: its own line, its minimum's and its cap's.
--
-- in:    charges_counted, invoices_due, minimums, rounded_figures
-- out:   invoice_id, plan, charge | amount_own, amount_minimum, amount_cap, quantity, minimum, shortfall, ...
-- grain: one row per counted charge of an invoice due now
-- why:   the minimum's amount is the rounded price of the charge's own quantity and the shortfall together, less the
--        rounded usage line, so that the two always add up to the price of the minimum.
with amounts as (
    select
        invoices.invoice_id,
        counted.*,
        coalesce(minimums.minimum, cast(null as decimal(18, 6))) as minimum,
        minimums.shortfall,
        minimums.used,
        minimums.days,
        minimums.whole_days,
        own.amount_exact,
        whole.amount_exact as amount_exact_whole,
        own.amount as amount_own,
        cast(coalesce(whole.amount - own.amount, 0) as decimal(20, 4)) as amount_minimum
    from charges_counted as counted
    inner join invoices_due as invoices
        on
            counted.subscription_id = invoices.subscription_id
            and counted.cycle_start = invoices.cycle_start
            and invoices.kind = 'cycle'
    left join minimums
        on
            counted.subscription_id = minimums.subscription_id
            and counted.cycle_start = minimums.cycle_start
            and counted.plan = minimums.plan
            and counted.charge = minimums.charge
    inner join rounded_figures as own
        on
            invoices.invoice_id = own.invoice_id
            and counted.plan = own.plan
            and counted.charge = own.charge
            and own.figure = 'own'
    left join rounded_figures as whole
        on
            invoices.invoice_id = whole.invoice_id
            and counted.plan = whole.plan
            and counted.charge = whole.charge
            and whole.figure = 'whole'
)

select
    *,
    cast(least(coalesce(cap - (amount_own + amount_minimum), 0), 0) as decimal(20, 4)) as amount_cap
from amounts
