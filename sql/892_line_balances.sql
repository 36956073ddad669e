-- 892_line_balances: what each line issued now comes to before it is rounded, what is added and taken off, and what
--         rounding adds, exactly.
--
-- in:    invoices_decided, invoices_due, prorations, rounded_figures, charge_amounts, usage_limited, limit_lines,
--        one_off_charges_judged, invoice_lines, lines_issued
-- out:   invoice_id, kind, charge, plan, fee_from | currency, minor_digits, denominator, before_numerator, shortfall,
--        capped, clipped, rounding_numerator, figures, billed_before, billed
-- grain: one row per line of an invoice issued now, and per line of a corrected invoice as it comes to now and as it
--        was billed before
-- why:   billed is read back from the lines to publish, all else comes from the figures before they were rounded: a
--        line that is lost, doubled or made from another one's figure does not balance. The share of a fee by days need
--        not end as a decimal: before and rounding are numerators over the days of the whole cycle, elsewhere over 1.
with issued as (
    select
        decided.invoice_id,
        decided.issued_as,
        decided.kind = 'correction' as is_correction,
        invoices.subscription_id,
        invoices.cycle_start,
        invoices.kind,
        invoices.plan,
        invoices.currency,
        invoices.minor_digits
    from invoices_decided as decided
    inner join invoices_due as invoices on decided.invoice_id = invoices.invoice_id
    where decided.reason is null
),

shares as (
    select
        prorations.invoice_id,
        case prorations.figure when 'fee' then 'recurring' else 'upgrade' end as kind,
        prorations.charge,
        prorations.plan,
        case prorations.figure when 'fee' then prorations.stands_for else '' end as fee_from,
        prorations.amount_denominator as denominator,
        prorations.amount_numerator as before_numerator,
        0 as shortfall,
        0 as capped,
        0 as clipped,
        figures.amount as rounded,
        1 as figures
    from prorations
    inner join rounded_figures as figures
        on
            prorations.invoice_id = figures.invoice_id
            and prorations.figure = figures.figure
            and prorations.plan = figures.plan
            and prorations.charge = figures.charge
            and prorations.stands_for = figures.stands_for
),

counted as (
    select
        invoice_id,
        kind,
        charge,
        plan,
        '' as fee_from,
        1 as denominator,
        amount_exact as before_numerator,
        0 as shortfall,
        0 as capped,
        0 as clipped,
        amount_own as rounded,
        1 as figures
    from charge_amounts
),

shortfalls as (
    select
        invoice_id,
        'minimum' as kind,
        charge,
        plan,
        '' as fee_from,
        1 as denominator,
        0 as before_numerator,
        amount_exact_whole - amount_exact as shortfall,
        0 as capped,
        0 as clipped,
        amount_minimum as rounded,
        2 as figures
    from charge_amounts
    where amount_exact_whole <> amount_exact
),

caps as (
    select
        invoice_id,
        'cap' as kind,
        charge,
        plan,
        '' as fee_from,
        1 as denominator,
        0 as before_numerator,
        0 as shortfall,
        greatest(coalesce(amount_exact_whole, amount_exact) - cap, 0) as capped,
        0 as clipped,
        amount_cap as rounded,
        1 as figures
    from charge_amounts
    where coalesce(amount_exact_whole, amount_exact) > cap or amount_cap < 0
),

figures_limited as (
    select
        invoice_id,
        1 + 3 * count(*) as figures
    from charge_amounts
    group by invoice_id
),

limits as (
    select
        issued.invoice_id,
        'spending_limit' as kind,
        'spending_limit' as charge,
        issued.plan,
        '' as fee_from,
        1 as denominator,
        0 as before_numerator,
        0 as shortfall,
        0 as capped,
        limited.clipped,
        coalesce(lines.amount, 0) as rounded,
        coalesce(counts.figures, 1) as figures
    from usage_limited as limited
    inner join issued
        on
            limited.subscription_id = issued.subscription_id
            and limited.cycle_start = issued.cycle_start
            and issued.kind = 'cycle'
    left join limit_lines as lines on issued.invoice_id = lines.invoice_id
    left join figures_limited as counts on issued.invoice_id = counts.invoice_id
    where limited.clipped > 0 or lines.amount < 0
),

one_offs as (
    select
        issued.invoice_id,
        'one_off' as kind,
        one_offs.charge_id as charge,
        issued.plan,
        '' as fee_from,
        1 as denominator,
        one_offs.amount as before_numerator,
        0 as shortfall,
        0 as capped,
        0 as clipped,
        one_offs.amount as rounded,
        0 as figures
    from one_off_charges_judged as one_offs
    inner join issued
        on
            one_offs.subscription_id = issued.subscription_id
            and one_offs.cycle_start = issued.cycle_start
            and issued.kind = 'cycle'
    where one_offs.verdict = 'counted'
),

worked_out as (
    select * from shares
    union all
    select * from counted
    union all
    select * from shortfalls
    union all
    select * from caps
    union all
    select * from limits
    union all
    select * from one_offs
),

parts as (
    select
        *,
        0 as billed_before,
        0 as billed
    from worked_out
    union all
    select
        issued.invoice_id,
        lines.kind,
        lines.charge,
        lines.plan,
        case when lines.kind = 'recurring' then cast(lines.service_start as varchar) else '' end as fee_from,
        1 as denominator,
        0 as before_numerator,
        0 as shortfall,
        0 as capped,
        0 as clipped,
        0 as rounded,
        0 as figures,
        0 as billed_before,
        lines.amount as billed
    from invoice_lines as lines
    inner join issued on lines.invoice_id = issued.issued_as
    union all
    select
        issued.invoice_id,
        lines.kind,
        lines.charge,
        lines.plan,
        lines.fee_from,
        1 as denominator,
        0 as before_numerator,
        0 as shortfall,
        0 as capped,
        0 as clipped,
        0 as rounded,
        0 as figures,
        lines.amount as billed_before,
        0 as billed
    from lines_issued as lines
    inner join issued on lines.invoice_id = issued.invoice_id and issued.is_correction
),

added_up as (
    select
        invoice_id,
        kind,
        charge,
        plan,
        fee_from,
        max(denominator) as denominator,
        cast(sum(before_numerator) as decimal(38, 15)) as before_numerator,
        cast(sum(shortfall) as decimal(38, 15)) as shortfall,
        cast(sum(capped) as decimal(38, 15)) as capped,
        cast(sum(clipped) as decimal(38, 15)) as clipped,
        cast(sum(rounded) as decimal(38, 15)) as rounded,
        cast(sum(figures) as integer) as figures,
        cast(sum(billed_before) as decimal(20, 4)) as billed_before,
        cast(sum(billed) as decimal(20, 4)) as billed
    from parts
    group by invoice_id, kind, charge, plan, fee_from
)

select
    added_up.invoice_id,
    added_up.kind,
    added_up.charge,
    added_up.plan,
    added_up.fee_from,
    issued.currency,
    issued.minor_digits,
    added_up.denominator,
    added_up.before_numerator,
    added_up.shortfall,
    added_up.capped,
    added_up.clipped,
    (added_up.rounded - added_up.shortfall + added_up.capped + added_up.clipped) * added_up.denominator
    - added_up.before_numerator as rounding_numerator,
    added_up.figures,
    added_up.billed_before,
    added_up.billed
from added_up
inner join issued on added_up.invoice_id = issued.invoice_id
