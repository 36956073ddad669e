-- 730_lines: every line of the invoices due now but that of the spending limit.
--
-- in:    invoices_due, fees_due, upgrades_due, rounded_figures, charge_amounts, one_off_charges_judged, local_dates
-- out:   invoice_id, kind, charge, plan, service_start, stands_for | the line
-- grain: one row per line; no line has quantity 0
with fees as (
    select
        fees_due.invoice_id,
        'recurring' as kind,
        fees_due.charge,
        fees_due.plan,
        fees_due.rate_card_version,
        1 as place,
        fees_due.charge_number,
        fees_due.charge || case fees_due.bill when 'advance' then ', in advance' else ', in arrears' end
            as description,
        cast(1 as decimal(18, 6)) as quantity,
        case when fees_due.days = fees_due.whole_days then cast(fees_due.flat_price as decimal(28, 9)) end
            as unit_price,
        figures.amount,
        fees_due.cycle_start as service_start,
        fees_due.cycle_end as service_end,
        '' as stands_for,
        cast(
            to_json(struct_pack(
                price := fees_due.price,
                bill := fees_due.bill,
                days := cast(fees_due.days as varchar),
                whole_days := cast(fees_due.whole_days as varchar),
                amount_exact := cast(figures.amount_exact as varchar)
            )) as varchar
        ) as evidence
    from fees_due
    inner join rounded_figures as figures
        on
            fees_due.invoice_id = figures.invoice_id
            and fees_due.plan = figures.plan
            and fees_due.charge = figures.charge
            and cast(fees_due.cycle_start as varchar) = figures.stands_for
            and figures.figure = 'fee'
),

counted as (
    select
        invoice_id,
        kind,
        charge,
        plan,
        rate_card_version,
        2 as place,
        charge_number,
        case
            when kind = 'peak' then charge || ': most ' || category || ' carts active at one time'
            else charge || ': ' || aggregation || ' of ' || meter
        end as description,
        quantity,
        case when price_form = 'per_unit' then cast(unit_price as decimal(28, 9)) end as unit_price,
        amount_own as amount,
        cycle_start as service_start,
        cycle_end as service_end,
        '' as stands_for,
        case
            when kind = 'peak'
                then
                    cast(
                        to_json(struct_pack(
                            category := category,
                            quantity := cast(quantity as varchar),
                            peak_at := cast(peak_at as varchar),
                            price := price,
                            amount_exact := cast(amount_exact as varchar)
                        )) as varchar
                    )
            else
                cast(
                    to_json(struct_pack(
                        meter := meter,
                        aggregation := aggregation,
                        quantity := cast(quantity as varchar),
                        price := price,
                        amount_exact := cast(amount_exact as varchar)
                    )) as varchar
                )
        end as evidence
    from charge_amounts
    where quantity > 0
),

shortfalls as (
    select
        invoice_id,
        'minimum' as kind,
        charge,
        plan,
        rate_card_version,
        2 as place,
        charge_number,
        charge || ': shortfall to the minimum' as description,
        shortfall as quantity,
        case when price_form = 'per_unit' then cast(unit_price as decimal(28, 9)) end as unit_price,
        amount_minimum as amount,
        cycle_start as service_start,
        cycle_end as service_end,
        '' as stands_for,
        cast(
            to_json(struct_pack(
                minimum := cast(minimum as varchar),
                used := cast(used as varchar),
                shortfall := cast(shortfall as varchar),
                days := cast(days as varchar),
                whole_days := cast(whole_days as varchar),
                price := price,
                amount_exact_with_usage := cast(amount_exact_whole as varchar),
                amount_of_usage := cast(amount_own as varchar)
            )) as varchar
        ) as evidence
    from charge_amounts
    where shortfall > 0
),

caps as (
    select
        invoice_id,
        'cap' as kind,
        charge,
        plan,
        rate_card_version,
        2 as place,
        charge_number,
        charge || ': above its cap' as description,
        cast(1 as decimal(18, 6)) as quantity,
        cast(null as decimal(28, 9)) as unit_price,
        amount_cap as amount,
        cycle_start as service_start,
        cycle_end as service_end,
        '' as stands_for,
        cast(
            to_json(struct_pack(
                cap := cast(cap as varchar),
                amount_of_usage := cast(amount_own as varchar),
                amount_of_minimum := cast(amount_minimum as varchar)
            )) as varchar
        ) as evidence
    from charge_amounts
    where amount_cap < 0
),

upgrades as (
    select
        upgrades_due.invoice_id,
        'upgrade' as kind,
        upgrades_due.plan as charge,
        upgrades_due.plan,
        upgrades_due.rate_card_version,
        3 as place,
        1 as charge_number,
        'upgrade from ' || upgrades_due.plan_before || ' to ' || upgrades_due.plan as description,
        cast(1 as decimal(18, 6)) as quantity,
        cast(null as decimal(28, 9)) as unit_price,
        figures.amount,
        upgrades_due.changed_on as service_start,
        upgrades_due.cycle_end as service_end,
        upgrades_due.upgrade_number as stands_for,
        cast(
            to_json(struct_pack(
                plan_before := upgrades_due.plan_before,
                fee_before := cast(upgrades_due.fee_before as varchar),
                fee_after := cast(upgrades_due.fee_after as varchar),
                changed_at := cast(upgrades_due.changed_at as varchar),
                days_remaining := cast(upgrades_due.days_remaining as varchar),
                whole_days := cast(upgrades_due.whole_days as varchar),
                amount_exact := cast(figures.amount_exact as varchar)
            )) as varchar
        ) as evidence
    from upgrades_due
    inner join rounded_figures as figures
        on
            upgrades_due.invoice_id = figures.invoice_id
            and upgrades_due.upgrade_number = figures.stands_for
            and figures.figure = 'upgrade'
    where figures.amount <> 0
),

one_offs as (
    select
        invoices.invoice_id,
        'one_off' as kind,
        one_offs.charge_id as charge,
        invoices.plan,
        invoices.rate_card_version,
        4 as place,
        1 as charge_number,
        one_offs.description,
        cast(1 as decimal(18, 6)) as quantity,
        cast(one_offs.amount as decimal(28, 9)) as unit_price,
        one_offs.amount,
        local_dates.local_date as service_start,
        local_dates.local_date + 1 as service_end,
        '' as stands_for,
        cast(
            to_json(struct_pack(
                purchased_at := cast(one_offs.purchased_at as varchar),
                amount := cast(one_offs.amount as varchar)
            )) as varchar
        ) as evidence
    from one_off_charges_judged as one_offs
    inner join invoices_due as invoices
        on
            one_offs.subscription_id = invoices.subscription_id
            and one_offs.cycle_start = invoices.cycle_start
            and invoices.kind = 'cycle'
    inner join local_dates
        on invoices.time_zone = local_dates.time_zone and one_offs.purchased_at = local_dates.instant
    where one_offs.verdict = 'counted'
)

select * from fees
union all
select * from counted
union all
select * from shortfalls
union all
select * from caps
union all
select * from upgrades
union all
select * from one_offs
