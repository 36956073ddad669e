-- 71_invoice_lines: the lines of the invoices issued now.
--
-- in:    charges_due, rounded_amounts, cycles_due, subscription_starts, rate_card_versions
-- out:   invoice_id, line_number | the columns of the published table
-- grain: one row per line; no line has quantity 0
-- why:   an invoice's id follows from what it bills, so that a run repeated gives the same one.
with lines as (
    select
        due.*,
        starts.time_zone,
        cycles.starts_at,
        versions.rounding,
        rounded.amount,
        rounded.amount_exact,
        'in_' || left(sha256('cycle ' || cast(due.cycle_start as varchar) || ' ' || due.subscription_id), 32)
            as invoice_id
    from charges_due as due
    inner join rounded_amounts as rounded
        on
            due.subscription_id = rounded.subscription_id
            and due.cycle_start = rounded.cycle_start
            and due.charge = rounded.charge
    inner join cycles_due as cycles
        on due.subscription_id = cycles.subscription_id and due.cycle_start = cycles.cycle_start
    inner join subscription_starts as starts on due.subscription_id = starts.subscription_id
    inner join rate_card_versions as versions
        on due.rate_card = versions.rate_card and due.rate_card_version = versions.rate_card_version
    where due.quantity > 0
)

select
    invoice_id,
    cast(row_number() over (partition by invoice_id order by charge_number) as integer) as line_number,
    kind,
    charge,
    plan,
    rate_card_version,
    case
        when kind = 'peak' then charge || ': most ' || category || ' carts active at one time'
        else charge || ': fee for the cycle, in arrears'
    end as description,
    cast(quantity as decimal(28, 6)) as quantity,
    cast(
        case
            when price_form = 'per_unit' then unit_price
            when kind = 'recurring' then amount_exact
        end as decimal(28, 9)
    ) as unit_price,
    amount,
    cycle_start as service_start,
    cycle_end as service_end,
    cast(
        case
            when kind = 'peak'
                then
                    to_json(struct_pack(
                        category := category,
                        quantity := cast(quantity as varchar),
                        peak_at := cast(peak_at as varchar),
                        price := price,
                        amount_exact := cast(amount_exact as varchar),
                        rounding := rounding,
                        time_zone := time_zone,
                        cycle_starts_at := cast(starts_at as varchar),
                        cycle_ends_at := cast(ends_at as varchar)
                    ))
            else
                to_json(struct_pack(
                    price := price,
                    amount_exact := cast(amount_exact as varchar),
                    rounding := rounding,
                    time_zone := time_zone,
                    cycle_starts_at := cast(starts_at as varchar),
                    cycle_ends_at := cast(ends_at as varchar),
                    active_until := cast(active_until as varchar)
                ))
        end as varchar
    ) as evidence
from lines
