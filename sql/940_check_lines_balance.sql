-- 940_check_lines_balance: lines whose figures do not come to what is billed, or whose rounding is no rounding. No row
--         may come out.
--
-- in:    line_balances
-- out:   invoice_id, kind, charge, plan, fee_from | billed, billed_before, worked_out, rounding_numerator, denominator
-- grain: one row per fault
-- why:   no figure is rounded by as much as one minor unit.
with worked_out as (
    select
        *,
        before_numerator + (shortfall - capped - clipped) * denominator + rounding_numerator as worked_out,
        cast(
            case minor_digits when 0 then 1 when 2 then 0.01 when 3 then 0.001 when 4 then 0.0001 end
            as decimal(38, 15)
        ) * figures * denominator as rounding_max
    from line_balances
)

select
    invoice_id,
    kind,
    charge,
    plan,
    fee_from,
    billed,
    billed_before,
    worked_out,
    rounding_numerator,
    denominator
from worked_out
where
    worked_out <> (cast(billed as decimal(38, 15)) + billed_before) * denominator
    or (abs(rounding_numerator) >= rounding_max and rounding_numerator <> 0)
