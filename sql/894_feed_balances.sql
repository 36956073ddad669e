-- 894_feed_balances: what has become of all rows ever read of each feed, after this run.
--
-- in:    files_read, known_rejected_rows, rows_judged, accounts_judged, credit_topups_judged, one_off_charges_judged,
--        local_dates, usage_outcomes_kept, usage_rows_judged, usage_sums, usage_sums_rated, usage_settled,
--        issued_cycles, cycles_issued, run_parameters
-- out:   feed | rows_in, rated, not_due, duplicate, superseded, voided, unpriced, rejected, held
-- grain: one row per feed of which a row was ever read
-- why:   rows_in is what the files hold, all else is counted where rows are judged. Of usage, rows that are not at hand
--        are what they were, but for those whose cycle is issued now. A row that counts is rated once its cycle is
--        issued; one that lasts, once a cycle that ends after it is; an account row, once an invoice of the account is;
--        a top-up, once its day is over.
with cycles as (
    select
        account_id,
        subscription_id,
        cycle_start,
        ends_at,
        kind,
        false as is_new
    from issued_cycles
    union all
    select
        account_id,
        subscription_id,
        cycle_start,
        ends_at,
        kind,
        true as is_new
    from cycles_issued
),

accounts_billed as (
    select distinct account_id
    from cycles
),

issued as (
    select
        subscription_id,
        cycle_start,
        is_new
    from cycles
    where kind = 'cycle'
),

issued_until as (
    select
        subscription_id,
        max(ends_at) as issued_until
    from cycles
    where kind = 'cycle'
    group by subscription_id
),

kept_of_issued_now as (
    select sum(usage_rows) as row_count
    from (
        select sums.usage_rows
        from usage_sums_rated as sums
        inner join issued
            on sums.subscription_id = issued.subscription_id and sums.cycle_start = issued.cycle_start and issued.is_new
        where sums.is_kept
        union all
        select 1 as usage_rows
        from usage_settled as settled
        inner join issued
            on
                settled.subscription_id = issued.subscription_id
                and settled.cycle_start = issued.cycle_start
                and issued.is_new
        where settled.verdict = 'counted'
    ) as moved
    having sum(usage_rows) > 0
),

counted_in_cycles as (
    select
        'one_off_charges' as feed,
        subscription_id,
        cycle_start,
        1 as row_count
    from one_off_charges_judged
    where verdict = 'counted'
    union all
    select
        'usage' as feed,
        subscription_id,
        cycle_start,
        1 as row_count
    from usage_rows_judged
    where verdict = 'counted'
    union all
    select
        'usage' as feed,
        subscription_id,
        cycle_start,
        usage_rows as row_count
    from usage_sums
    where trouble is null
),

outcomes as (
    select
        feed,
        'rejected' as outcome,
        1 as row_count
    from known_rejected_rows
    union all
    select
        judged.feed,
        case
            when judged.verdict <> 'counted' then judged.verdict
            when judged.instant < issued_until.issued_until then 'rated'
            else 'not_due'
        end as outcome,
        1 as row_count
    from rows_judged as judged
    left join issued_until on judged.subscription_id = issued_until.subscription_id
    where
        judged.verdict not in ('counted', 'refused')
        or (
            judged.verdict = 'counted'
            and judged.feed in ('subscriptions', 'cart_events', 'cart_snapshots', 'spending_limits')
        )
    union all
    select
        'accounts' as feed,
        case when billed.account_id is not null then 'rated' else 'not_due' end as outcome,
        1 as row_count
    from accounts_judged as judged
    left join accounts_billed as billed on judged.account_id = billed.account_id
    where judged.verdict = 'counted'
    union all
    select
        'credit_topups' as feed,
        case when local_dates.local_date <= run_parameters.as_of then 'rated' else 'not_due' end as outcome,
        1 as row_count
    from credit_topups_judged as topups
    cross join run_parameters
    left join local_dates
        on topups.time_zone = local_dates.time_zone and topups.purchased_at = local_dates.instant
    where topups.verdict = 'counted'
    union all
    select
        counted.feed,
        case when issued.cycle_start is not null then 'rated' else 'not_due' end as outcome,
        counted.row_count
    from counted_in_cycles as counted
    left join issued on counted.subscription_id = issued.subscription_id and counted.cycle_start = issued.cycle_start
    union all
    select
        'usage' as feed,
        outcome,
        usage_rows as row_count
    from usage_outcomes_kept
    union all
    select
        'usage' as feed,
        'rated' as outcome,
        row_count
    from kept_of_issued_now
    union all
    select
        'usage' as feed,
        'not_due' as outcome,
        -row_count as row_count
    from kept_of_issued_now
),

rows_out as (
    select
        feed,
        sum(case outcome when 'rated' then row_count else 0 end) as rated,
        sum(case outcome when 'not_due' then row_count else 0 end) as not_due,
        sum(case outcome when 'duplicate' then row_count else 0 end) as duplicate,
        sum(case outcome when 'superseded' then row_count else 0 end) as superseded,
        sum(case outcome when 'voided' then row_count else 0 end) as voided,
        sum(case outcome when 'unpriced' then row_count else 0 end) as unpriced,
        sum(case outcome when 'rejected' then row_count else 0 end) as rejected,
        sum(case outcome when 'held' then row_count else 0 end) as held
    from outcomes
    group by feed
),

rows_in as (
    select
        feed,
        sum(rows_read) as rows_in
    from files_read
    group by feed
)

select
    coalesce(rows_in.feed, rows_out.feed) as feed,
    cast(coalesce(rows_in.rows_in, 0) as bigint) as rows_in,
    cast(coalesce(rows_out.rated, 0) as bigint) as rated,
    cast(coalesce(rows_out.not_due, 0) as bigint) as not_due,
    cast(coalesce(rows_out.duplicate, 0) as bigint) as duplicate,
    cast(coalesce(rows_out.superseded, 0) as bigint) as superseded,
    cast(coalesce(rows_out.voided, 0) as bigint) as voided,
    cast(coalesce(rows_out.unpriced, 0) as bigint) as unpriced,
    cast(coalesce(rows_out.rejected, 0) as bigint) as rejected,
    cast(coalesce(rows_out.held, 0) as bigint) as held
from rows_in
full outer join rows_out on rows_in.feed = rows_out.feed
where rows_in.rows_in > 0 or rows_out.feed is not null
