-- 710_rounded_figures: every figure in the currency's minor units. The one place where money is rounded.
--
-- in:    figures
-- out:   invoice_id, figure, plan, charge, stands_for | amount_exact, amount
-- grain: one row per figure
-- why:   every mode is worked out from the nearest value, ties away from zero: half_even steps back from a tie that
--        landed on an odd value, down steps back where the nearest lies above, up steps on where it lies below. Of a
--        figure that was cut (is_inexact) a little more is meant: it is never a tie, and never already even.
with sized as (
    select
        *,
        abs(amount_exact) as size,
        case minor_digits
            when 0 then cast(round(abs(amount_exact), 0) as decimal(38, 15))
            when 2 then cast(round(abs(amount_exact), 2) as decimal(38, 15))
            when 3 then cast(round(abs(amount_exact), 3) as decimal(38, 15))
            when 4 then cast(round(abs(amount_exact), 4) as decimal(38, 15))
        end as nearest,
        cast(
            case minor_digits when 0 then 1 when 2 then 0.01 when 3 then 0.001 when 4 then 0.0001 end
            as decimal(38, 15)
        ) as minor_unit
    from figures
),

compared as (
    select
        *,
        case
            when rounding <> 'half_even' then false
            when minor_digits = 0 then round(nearest * 0.5, 0) <> nearest * 0.5
            when minor_digits = 2 then round(nearest * 0.5, 2) <> nearest * 0.5
            when minor_digits = 3 then round(nearest * 0.5, 3) <> nearest * 0.5
            when minor_digits = 4 then round(nearest * 0.5, 4) <> nearest * 0.5
        end as is_odd
    from sized
),

stepped as (
    select
        *,
        case
            when is_odd and nearest - size = minor_unit * 0.5 and not is_inexact then nearest - minor_unit
            when rounding = 'down' and nearest > size then nearest - minor_unit
            when rounding = 'up' and (nearest < size or (nearest = size and is_inexact)) then nearest + minor_unit
            else nearest
        end as amount_size
    from compared
)

select
    invoice_id,
    figure,
    plan,
    charge,
    stands_for,
    amount_exact,
    cast(case when amount_exact < 0 then -amount_size else amount_size end as decimal(20, 4)) as amount
from stepped
