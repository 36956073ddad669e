-- 310_rows_touching: the rows that may make a difference to invoices already issued.
--
-- in:    rows_judged, usage_rows_judged, usage_alone, usage_sums, one_off_charges_judged, rejected_rows_before,
--        issued_cycles, run_parameters
-- out:   feed, run_number, file, row_number | subscription_id, instant, subject, verdict, is_new
-- grain: one row per row that is new in this run, or was listed as refused and is not any more, or the other way
--        round; with the other revisions of its event or purchase, which may lie in another cycle
-- why:   all other rows say what they said when the invoices were issued. A snapshot's row says something of every
--        customer's carts: those it lists, and those it does not. Where nothing is issued nothing is read.
with issued_until as (
    select
        subscription_id,
        max(ends_at) as issued_until
    from issued_cycles
    group by subscription_id
),

latest as (
    select max(issued_until) as issued_until
    from issued_until
    having count(*) > 0
),

listed_before as (
    select
        feed,
        cast(read_in as integer) as run_number,
        file,
        row_number
    from rejected_rows_before
    where status in ('held', 'rejected')
),

usage_asked as (
    select usage.*
    from usage_alone as usage
    inner join run_parameters on usage.run_number = run_parameters.run_number
    inner join issued_until as issued
        on usage.subscription_id = issued.subscription_id and usage.occurred_at <= issued.issued_until
),

changed as (
    select
        judged.feed,
        judged.run_number,
        judged.file,
        judged.row_number,
        judged.subscription_id,
        judged.instant,
        judged.subject,
        judged.verdict
    from rows_judged as judged
    cross join run_parameters
    cross join latest
    left join listed_before as before
        on
            judged.feed = before.feed
            and judged.run_number = before.run_number
            and judged.file = before.file
            and judged.row_number = before.row_number
    where
        judged.verdict <> 'duplicate'
        and judged.reason is distinct from 'late'
        and not (
            judged.verdict = 'rejected'
            and judged.run_number = run_parameters.run_number
            and judged.feed <> 'cart_snapshots'
        )
        and (
            judged.run_number = run_parameters.run_number
            or (judged.verdict in ('held', 'rejected', 'refused')) <> (before.feed is not null)
        )
    union all
    select
        'usage' as feed,
        usage.run_number,
        usage.file,
        usage.row_number,
        usage.subscription_id,
        usage.occurred_at as instant,
        usage.meter as subject,
        'counted' as verdict
    from usage_asked as usage
    inner join usage_sums as sums
        on
            usage.subscription_id = sums.subscription_id
            and usage.meter = sums.meter
            and usage.occurred_at >= sums.span_from
            and usage.occurred_at < sums.span_until
    where sums.trouble is null
),

events as (
    select distinct
        usage.subscription_id,
        usage.event_id
    from usage_rows_judged as usage
    inner join changed
        on
            usage.run_number = changed.run_number
            and usage.file = changed.file
            and usage.row_number = changed.row_number
            and changed.feed = 'usage'
    where usage.is_repeated
),

purchases as (
    select distinct subject as charge_id
    from changed
    where feed = 'one_off_charges'
),

touching as (
    select *
    from changed
    union
    select
        'usage' as feed,
        usage.run_number,
        usage.file,
        usage.row_number,
        usage.subscription_id,
        usage.occurred_at as instant,
        usage.meter as subject,
        usage.verdict
    from usage_rows_judged as usage
    inner join events on usage.subscription_id = events.subscription_id and usage.event_id = events.event_id
    where usage.is_repeated
    union
    select
        'one_off_charges' as feed,
        one_offs.run_number,
        one_offs.file,
        one_offs.row_number,
        one_offs.subscription_id,
        one_offs.purchased_at as instant,
        one_offs.charge_id as subject,
        one_offs.verdict
    from one_off_charges_judged as one_offs
    inner join purchases on one_offs.charge_id = purchases.charge_id
)

select
    touching.feed,
    touching.run_number,
    touching.file,
    touching.row_number,
    touching.subscription_id,
    touching.instant,
    touching.subject,
    touching.verdict,
    touching.run_number = run_parameters.run_number as is_new
from touching
cross join run_parameters
cross join latest
left join issued_until on touching.subscription_id = issued_until.subscription_id
where
    touching.instant <= issued_until.issued_until
    or (touching.feed = 'cart_snapshots' and touching.instant < latest.issued_until)
