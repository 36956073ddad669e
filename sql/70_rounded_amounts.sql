-- 70_rounded_amounts: each charge's amount in the currency's minor units. The one place where money is rounded.
--
-- in:    amounts, charges_due, rate_card_versions
-- out:   subscription_id, cycle_start, charge | amount_exact, amount
-- grain: one row per due cycle and charge of its plan
-- why:   every mode is worked out from the nearest value, ties away from zero: half_even steps back from a tie that
--        landed on an odd value, down steps back where the nearest lies above, up steps on where it lies below.
with sized as (
    select
        amounts.*,
        versions.rounding,
        abs(amounts.amount_exact) as size,
        case versions.minor_digits
            when 0 then cast(round(abs(amounts.amount_exact), 0) as decimal(38, 15))
            when 2 then cast(round(abs(amounts.amount_exact), 2) as decimal(38, 15))
            when 3 then cast(round(abs(amounts.amount_exact), 3) as decimal(38, 15))
            when 4 then cast(round(abs(amounts.amount_exact), 4) as decimal(38, 15))
        end as nearest,
        cast(
            case versions.minor_digits when 0 then 1 when 2 then 0.01 when 3 then 0.001 when 4 then 0.0001 end
            as decimal(38, 15)
        ) as minor_unit,
        versions.minor_digits
    from amounts
    inner join charges_due as due
        on
            amounts.subscription_id = due.subscription_id
            and amounts.cycle_start = due.cycle_start
            and amounts.charge = due.charge
    inner join rate_card_versions as versions
        on due.rate_card = versions.rate_card and due.rate_card_version = versions.rate_card_version
),

compared as (
    select
        *,
        case minor_digits
            when 0 then round(nearest * 0.5, 0) <> nearest * 0.5
            when 2 then round(nearest * 0.5, 2) <> nearest * 0.5
            when 3 then round(nearest * 0.5, 3) <> nearest * 0.5
            when 4 then round(nearest * 0.5, 4) <> nearest * 0.5
        end as is_odd
    from sized
),

stepped as (
    select
        *,
        case
            when rounding = 'half_even' and nearest - size = minor_unit * 0.5 and is_odd then nearest - minor_unit
            when rounding = 'down' and nearest > size then nearest - minor_unit
            when rounding = 'up' and nearest < size then nearest + minor_unit
            else nearest
        end as amount_size
    from compared
)

select
    subscription_id,
    cycle_start,
    charge,
    amount_exact,
    cast(case when amount_exact < 0 then -amount_size else amount_size end as decimal(20, 4)) as amount
from stepped
