-- 090_late_rows: rows that came too late: they would change the invoice of a cycle that ended before the correction
--         window.
--
-- in:    known_subscriptions, known_cart_events, known_cart_snapshots, known_spending_limits, usage_at_hand,
--        known_one_off_charges, issued_cycles, rejected_rows_before, policies, run_parameters
-- out:   feed, run_number, file, row_number
-- grain: one row per row that came too late; none without a window
-- why:   cycles tile, so one instant says up to when a subscription's books are closed. A snapshot says something of
--        every customer's carts. A subscription's row at the very end of a cycle decides the fee its invoice carries.
--        A higher revision of what a closed cycle was billed for is late wherever it puts it. What was taken in stays
--        in; only a subscription's row that was held may become late, for a new plan may make it fit. Where no
--        books are closed nothing is read.
with closed as (
    select
        issued.subscription_id,
        max(issued.ends_at) as closed_until
    from issued_cycles as issued
    cross join run_parameters
    cross join policies
    where issued.cycle_end < run_parameters.as_of - cast(policies.correction_window as integer)
    group by issued.subscription_id
),

closed_for_all as (
    select max(closed_until) as closed_until
    from closed
    having count(*) > 0
),

said as (
    select
        'subscriptions' as feed,
        run_number,
        file,
        row_number,
        subscription_id,
        effective_at as instant,
        cast(null as varchar) as key,
        revision,
        voided
    from known_subscriptions
    cross join closed_for_all
    union all
    select
        'cart_events' as feed,
        run_number,
        file,
        row_number,
        subscription_id,
        occurred_at as instant,
        cast(null as varchar) as key,
        revision,
        voided
    from known_cart_events
    cross join closed_for_all
    union all
    select
        'cart_snapshots' as feed,
        run_number,
        file,
        row_number,
        subscription_id,
        snapshot_at as instant,
        cast(null as varchar) as key,
        revision,
        voided
    from known_cart_snapshots
    cross join closed_for_all
    union all
    select
        'spending_limits' as feed,
        run_number,
        file,
        row_number,
        subscription_id,
        agreed_at as instant,
        cast(null as varchar) as key,
        revision,
        voided
    from known_spending_limits
    cross join closed_for_all
    union all
    select
        'usage' as feed,
        run_number,
        file,
        row_number,
        subscription_id,
        occurred_at as instant,
        event_id as key,
        revision,
        voided
    from usage_at_hand
    cross join closed_for_all
    union all
    select
        'one_off_charges' as feed,
        run_number,
        file,
        row_number,
        subscription_id,
        purchased_at as instant,
        charge_id as key,
        revision,
        voided
    from known_one_off_charges
    cross join closed_for_all
),

listed_before as (
    select
        feed,
        cast(read_in as integer) as run_number,
        file,
        row_number,
        max(status = 'held' and (reason = 'late' or feed = 'subscriptions')) as is_asked_again
    from rejected_rows_before
    where status in ('held', 'rejected')
    group by feed, read_in, file, row_number
),

asked as (
    select said.*
    from said
    inner join run_parameters on said.run_number = run_parameters.run_number
    union all
    select said.*
    from said
    inner join listed_before
        on
            said.feed = listed_before.feed
            and said.run_number = listed_before.run_number
            and said.file = listed_before.file
            and said.row_number = listed_before.row_number
    where listed_before.is_asked_again
),

keys_asked as (
    select distinct
        feed,
        key
    from asked
    where key is not null
),

taken_in as (
    select
        said.*,
        max(said.revision) over (
            partition by said.feed, said.key, case when said.feed = 'usage' then said.subscription_id end
        ) as revision_in_force
    from said
    inner join keys_asked on said.feed = keys_asked.feed and said.key = keys_asked.key
    inner join run_parameters on said.run_number < run_parameters.run_number
    left join listed_before
        on
            said.feed = listed_before.feed
            and said.run_number = listed_before.run_number
            and said.file = listed_before.file
            and said.row_number = listed_before.row_number
    where listed_before.feed is null
),

too_late as (
    select asked.*
    from asked
    inner join closed on asked.subscription_id = closed.subscription_id
    where
        asked.feed <> 'cart_snapshots'
        and (
            asked.instant < closed.closed_until
            or (asked.feed = 'subscriptions' and asked.instant = closed.closed_until)
        )
    union
    select asked.*
    from asked
    inner join taken_in
        on
            asked.feed = taken_in.feed
            and asked.key = taken_in.key
            and (asked.subscription_id = taken_in.subscription_id or asked.feed = 'one_off_charges')
            and asked.revision > taken_in.revision
    inner join closed
        on taken_in.subscription_id = closed.subscription_id and taken_in.instant < closed.closed_until
    where taken_in.revision = taken_in.revision_in_force and not taken_in.voided
    union
    select asked.*
    from asked
    inner join closed_for_all on asked.instant < closed_for_all.closed_until
    where asked.feed = 'cart_snapshots'
)

select
    feed,
    run_number,
    file,
    row_number
from too_late
