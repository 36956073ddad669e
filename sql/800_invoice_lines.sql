-- 800_invoice_lines: the lines of the invoices issued now.
--
-- in:    rated_lines, line_differences, invoices_decided, invoices_touched, rows_touching, charges
-- out:   invoice_id, line_number | the columns of the published table
-- grain: one row per line; of a correction one row per line that differs
-- why:   a correction's evidence names the rows that made the difference: of the feeds that the line's kind hangs on,
--        of this subscription, said of this cycle or before. A snapshot also speaks by what it does not list, so its
--        instant is given where no row of the customer is.
with of_invoices as (
    select
        lines.invoice_id,
        lines.kind,
        lines.charge,
        lines.plan,
        lines.rate_card_version,
        lines.description,
        lines.quantity,
        lines.unit_price,
        lines.amount,
        lines.service_start,
        lines.service_end,
        lines.evidence,
        lines.place,
        lines.charge_number,
        lines.stands_for
    from rated_lines as lines
    inner join invoices_decided as decided
        on lines.invoice_id = decided.invoice_id and decided.kind <> 'correction' and decided.reason is null
),

differences as (
    select
        differing.*,
        decided.issued_as,
        touched.subscription_id,
        touched.starts_at,
        touched.ends_at,
        charges.meter,
        charges.minimum_meter
    from line_differences as differing
    inner join invoices_decided as decided
        on differing.invoice_id = decided.invoice_id and decided.reason is null
    inner join invoices_touched as touched on differing.invoice_id = touched.invoice_id
    left join charges
        on
            touched.rate_card = charges.rate_card
            and differing.rate_card_version = charges.rate_card_version
            and differing.plan = charges.plan
            and differing.charge = charges.charge
),

reasons as (
    select
        differences.issued_as,
        differences.kind,
        differences.charge,
        differences.plan,
        differences.fee_from,
        rows_touching.feed,
        rows_touching.file,
        rows_touching.row_number,
        row_number() over (
            partition by
                differences.issued_as, differences.kind, differences.charge, differences.plan, differences.fee_from
            order by
                rows_touching.feed, rows_touching.instant, rows_touching.run_number, rows_touching.file,
                rows_touching.row_number
        ) as place
    from differences
    inner join rows_touching
        on
            differences.subscription_id = rows_touching.subscription_id
            and differences.ends_at >= rows_touching.instant
    where
        (rows_touching.verdict not in ('held', 'rejected') or not rows_touching.is_new)
        and case
            when rows_touching.feed = 'subscriptions' then true
            when rows_touching.instant = differences.ends_at then false
            when rows_touching.feed in ('cart_events', 'cart_snapshots') then differences.kind = 'peak'
            when rows_touching.feed = 'spending_limits' then differences.kind = 'spending_limit'
            when rows_touching.instant < differences.starts_at then false
            when rows_touching.feed = 'one_off_charges'
                then differences.kind = 'one_off' and differences.charge = rows_touching.subject
            when differences.kind = 'spending_limit' then true
            when differences.kind = 'minimum'
                then rows_touching.subject in (differences.meter, differences.minimum_meter)
            else
                differences.kind in ('usage', 'cap') and rows_touching.subject = differences.meter
        end
),

made_by as (
    select
        issued_as,
        kind,
        charge,
        plan,
        fee_from,
        count(*) as row_count,
        string_agg(
            case when place <= 20 then file || ':' || cast(row_number as varchar) end, '; ' order by place
        ) as first_rows
    from reasons
    group by issued_as, kind, charge, plan, fee_from
),

snapshots as (
    select
        touched.invoice_id,
        min(rows_touching.instant) as snapshot_first
    from invoices_touched as touched
    inner join rows_touching on rows_touching.feed = 'cart_snapshots' and touched.ends_at > rows_touching.instant
    group by touched.invoice_id
),

of_corrections as (
    select
        differences.issued_as as invoice_id,
        differences.kind,
        differences.charge,
        differences.plan,
        differences.rate_card_version,
        case when left(differences.description, 14) = 'correction of ' then '' else 'correction of ' end
        || differences.description as description,
        differences.quantity,
        differences.unit_price,
        differences.amount,
        differences.service_start,
        differences.service_end,
        cast(
            to_json(struct_pack(
                corrects_invoice_id := differences.invoice_id,
                quantity_before := cast(differences.quantity_issued as varchar),
                quantity_after := cast(differences.quantity_now as varchar),
                amount_before := cast(differences.amount_issued as varchar),
                amount_after := cast(differences.amount_now as varchar),
                row_count := cast(coalesce(made_by.row_count, 0) as varchar),
                first_rows := coalesce(made_by.first_rows, ''),
                snapshots_from := coalesce(
                    case when differences.kind = 'peak' then cast(snapshots.snapshot_first as varchar) end, ''
                )
            )) as varchar
        ) as evidence,
        case differences.kind
            when 'recurring' then 1 when 'upgrade' then 3 when 'one_off' then 4 when 'spending_limit' then 5 else 2
        end as place,
        1 as charge_number,
        '' as stands_for
    from differences
    left join made_by
        on
            differences.issued_as = made_by.issued_as
            and differences.kind = made_by.kind
            and differences.charge = made_by.charge
            and differences.plan = made_by.plan
            and differences.fee_from = made_by.fee_from
    left join snapshots on differences.invoice_id = snapshots.invoice_id
),

all_lines as (
    select * from of_invoices
    union all
    select * from of_corrections
)

select
    invoice_id,
    cast(
        row_number() over (
            partition by invoice_id
            order by place, service_start, charge_number, charge, plan, kind desc, stands_for
        ) as integer
    ) as line_number,
    kind,
    charge,
    plan,
    rate_card_version,
    description,
    cast(quantity as decimal(28, 6)) as quantity,
    unit_price,
    amount,
    service_start,
    service_end,
    evidence
from all_lines
