-- 530_prorations: each fee and upgrade, exactly: a price times days divided by the days of the whole cycle.
--
-- in:    fees_due, upgrades_due
-- out:   invoice_id, figure, plan, charge, stands_for | amount_exact, is_inexact, amount_numerator, amount_denominator
-- grain: one row per fee or upgrade
-- why:   the division is done in whole numbers, in ten-thousandths and then to 13 decimals, cut toward zero; is_inexact
--        says that something was cut off, which is all that rounding needs to know. Nothing is cut off of the numerator
--        and the denominator; a whole price has the denominator 1.
with asked as (
    select
        invoice_id,
        'fee' as figure,
        plan,
        charge,
        cast(cycle_start as varchar) as stands_for,
        cast(flat_price * 10000 as bigint) as ten_thousandths,
        cast(days as bigint) as days,
        cast(whole_days as bigint) as whole_days
    from fees_due
    union all
    select
        invoice_id,
        'upgrade' as figure,
        plan,
        plan as charge,
        upgrade_number as stands_for,
        cast((fee_after - fee_before) * 10000 as bigint) as ten_thousandths,
        cast(days_remaining as bigint) as days,
        cast(whole_days as bigint) as whole_days
    from upgrades_due
),

divided as (
    select
        *,
        ten_thousandths * days // whole_days as quotient,
        (ten_thousandths * days % whole_days) * 1000000000 as remainder
    from asked
)

select
    invoice_id,
    figure,
    plan,
    charge,
    stands_for,
    cast(
        cast(quotient as decimal(18, 0)) * cast(0.0001 as decimal(5, 4))
        + cast(remainder // whole_days as decimal(18, 0)) * cast(0.0000000000001 as decimal(14, 13)) as decimal(38, 15)
    ) as amount_exact,
    remainder % whole_days <> 0 as is_inexact,
    cast(
        cast(case when days = whole_days then ten_thousandths else ten_thousandths * days end as decimal(18, 0))
        * cast(0.0001 as decimal(5, 4)) as decimal(38, 15)
    ) as amount_numerator,
    case when days = whole_days then 1 else whole_days end as amount_denominator
from divided
