-- 700_figures: every exact figure that becomes money on an invoice due now.
--
-- in:    invoices_due, prorations, charges_counted, prices, usage_limited, usage_clipped
-- out:   invoice_id, figure, plan, charge, stands_for | amount_exact, is_inexact, rounding, minor_digits
-- grain: one row per figure: fee, upgrade, own (a charge's own quantity), whole (that and its shortfall, where it has a
--        minimum), limited (what all usage of the cycle comes to under its limit), clipped (what the limit took from a
--        charge)
-- as:    view
select
    prorations.invoice_id,
    prorations.figure,
    prorations.plan,
    prorations.charge,
    prorations.stands_for,
    prorations.amount_exact,
    prorations.is_inexact,
    invoices.rounding,
    invoices.minor_digits
from prorations
inner join invoices_due as invoices on prorations.invoice_id = invoices.invoice_id
union all
select
    invoices.invoice_id,
    prices.part as figure,
    counted.plan,
    counted.charge,
    '' as stands_for,
    prices.amount_uncapped as amount_exact,
    false as is_inexact,
    invoices.rounding,
    invoices.minor_digits
from charges_counted as counted
inner join invoices_due as invoices
    on
        counted.subscription_id = invoices.subscription_id
        and counted.cycle_start = invoices.cycle_start
        and invoices.kind = 'cycle'
inner join prices
    on
        counted.subscription_id = prices.subscription_id
        and counted.cycle_start = prices.cycle_start
        and counted.plan = prices.plan
        and counted.charge = prices.charge
        and prices.part in ('own', 'whole')
union all
select
    invoices.invoice_id,
    'limited' as figure,
    '' as plan,
    'spending_limit' as charge,
    '' as stands_for,
    limited.amount_exact,
    false as is_inexact,
    invoices.rounding,
    invoices.minor_digits
from usage_limited as limited
inner join invoices_due as invoices
    on
        limited.subscription_id = invoices.subscription_id
        and limited.cycle_start = invoices.cycle_start
        and invoices.kind = 'cycle'
union all
select
    invoices.invoice_id,
    'clipped' as figure,
    clipped.plan,
    clipped.charge,
    '' as stands_for,
    cast(sum(clipped.clipped) as decimal(38, 15)) as amount_exact,
    false as is_inexact,
    min(invoices.rounding) as rounding,
    min(invoices.minor_digits) as minor_digits
from usage_clipped as clipped
inner join invoices_due as invoices
    on
        clipped.subscription_id = invoices.subscription_id
        and clipped.cycle_start = invoices.cycle_start
        and invoices.kind = 'cycle'
group by invoices.invoice_id, clipped.plan, clipped.charge
