-- 81_rows_listed: every row that is refused, waits or is not priced, as judged now, with the run that found it so.
--
-- in:    rows_judged, known_rejected_rows, issued_cycles, credit_topups_judged, credit_ledger_before,
--        rejected_rows_before, run_parameters
-- out:   feed, read_in, file, row_number | run_id, status, reason, detail
-- grain: one row per refused or waiting row
-- why:   a fee in advance that an issued invoice carries was settled by what was known then. A row that arrives for
--        an invoiced cycle is late: the issued invoice stays, the row is listed as held. Rows about usage fall into
--        one cycle; what is said of carts, plans, activity and limits lasts, so it is late for any invoiced cycle
--        that ends after it. A row once listed as held was no part of the invoice either.
with issued_until as (
    select
        subscription_id,
        max(ends_at) as issued_until,
        max(case when fee_carried_for is not null then ends_at end) as fee_carried_until
    from issued_cycles
    group by subscription_id
),

effects as (
    select
        judged.*,
        judged.feed in ('usage', 'one_off_charges') as falls_into_one_cycle
    from rows_judged as judged
),

late as (
    select
        effects.feed,
        effects.run_number,
        effects.file,
        effects.row_number
    from effects
    inner join issued_until on effects.subscription_id = issued_until.subscription_id
    left join issued_cycles as issued
        on
            effects.falls_into_one_cycle
            and effects.subscription_id = issued.subscription_id
            and effects.instant >= issued.starts_at
            and effects.instant < issued.ends_at
    left join rejected_rows_before as before
        on
            effects.feed = before.feed
            and effects.run_number = cast(before.read_in as integer)
            and effects.file = before.file
            and effects.row_number = before.row_number
            and before.status = 'held'
    cross join run_parameters
    where
        effects.verdict in ('counted', 'voided')
        and (
            effects.instant < issued_until.issued_until
            or (effects.feed = 'subscriptions' and effects.instant = issued_until.fee_carried_until)
        )
        and (issued.subscription_id is not null or not effects.falls_into_one_cycle)
        and (effects.run_number = run_parameters.run_number or before.feed is not null)
),

late_topups as (
    select
        topups.run_number,
        topups.file,
        topups.row_number
    from credit_topups_judged as topups
    inner join credit_ledger_before as posted on topups.topup_id = posted.reference and posted.kind = 'topup'
    left join rejected_rows_before as before
        on
            topups.run_number = cast(before.read_in as integer)
            and topups.file = before.file
            and topups.row_number = before.row_number
            and before.feed = 'credit_topups'
            and before.status = 'held'
    cross join run_parameters
    where
        topups.verdict in ('counted', 'voided')
        and (topups.run_number = run_parameters.run_number or before.feed is not null)
),

listed as (
    select
        feed,
        run_number,
        file,
        row_number,
        verdict as status,
        reason,
        detail
    from rows_judged
    where verdict in ('rejected', 'held', 'unpriced')
    union all
    select
        feed,
        run_number,
        file,
        row_number,
        'held' as status,
        'late' as reason,
        'its cycle is already invoiced; the invoice stays as issued' as detail
    from late
    union all
    select
        'credit_topups' as feed,
        run_number,
        file,
        row_number,
        'held' as status,
        'late' as reason,
        'the top-up is already posted; the ledger stays as posted' as detail
    from late_topups
    union all
    select
        feed,
        run_number,
        file,
        row_number,
        'rejected' as status,
        reason,
        detail
    from known_rejected_rows
)

select
    coalesce(before.run_id, run_parameters.run_id) as run_id,
    listed.feed,
    listed.file,
    listed.row_number,
    listed.status,
    listed.reason,
    listed.detail,
    lpad(cast(listed.run_number as varchar), 6, '0') as read_in
from listed
cross join run_parameters
left join rejected_rows_before as before
    on
        listed.feed = before.feed
        and listed.run_number = cast(before.read_in as integer)
        and listed.file = before.file
        and listed.row_number = before.row_number
        and listed.status = before.status
        and listed.reason = before.reason
