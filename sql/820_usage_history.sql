-- 820_usage_history: what each counted charge came to, cycle by cycle: the page a customer checks a bill against.
--
-- in:    charge_amounts, limit_lines, rounded_figures, invoices_decided
-- out:   subscription_id, cycle_start, plan, charge | the columns of the published table
-- grain: one row per invoiced cycle and counted charge of its plan at the end, also where nothing was used; of other
--        plans what they counted. Those of a corrected cycle take the place of what was there
-- why:   a crossing event's clipped part belongs to its charge. All of them together come to what the spending limit's
--        line says, to the cent: the charge that lost most takes what rounding leaves over.
with clipped as (
    select
        amounts.*,
        coalesce(figures.amount, 0) as clipped,
        coalesce(-limits.amount, 0) as clipped_of_invoice,
        sum(coalesce(figures.amount, 0)) over (partition by amounts.invoice_id) as clipped_of_charges,
        row_number() over (
            partition by amounts.invoice_id
            order by
                case when amounts.kind = 'usage' and (amounts.quantity > 0 or amounts.is_plan_at_end) then 0 else 1 end,
                coalesce(figures.amount, 0) desc, amounts.amount_own desc, amounts.plan, amounts.charge
        ) as place
    from charge_amounts as amounts
    left join limit_lines as limits on amounts.invoice_id = limits.invoice_id
    left join rounded_figures as figures
        on
            amounts.invoice_id = figures.invoice_id
            and amounts.plan = figures.plan
            and amounts.charge = figures.charge
            and figures.figure = 'clipped'
),

written as (
    select clipped.*
    from clipped
    inner join invoices_decided as decided
        on clipped.invoice_id = decided.invoice_id and decided.reason is null
    where clipped.quantity > 0 or clipped.is_plan_at_end
)

select
    subscription_id,
    cycle_start,
    cycle_end,
    plan,
    charge,
    cast(quantity as decimal(28, 6)) as quantity,
    cast(minimum as decimal(28, 6)) as minimum,
    cast(shortfall as decimal(28, 6)) as shortfall,
    peak_at,
    cast(amount_own + amount_minimum + amount_cap as decimal(20, 4)) as amount,
    cast(
        case
            when clipped_of_invoice = 0 then 0
            when place = 1 then clipped + clipped_of_invoice - clipped_of_charges
            else clipped
        end as decimal(20, 4)
    ) as clipped
from written
