-- 896_balances: what has become of the rows of each feed, and what was billed of each kind of charge, as published.
--
-- in:    feed_balances, line_balances, run_parameters
-- out:   feed, currency, charge_kind, denominator | the columns of the published table
-- grain: one row per feed, and one per currency, kind and denominator of the lines issued now
select
    run_parameters.run_id,
    feeds.feed,
    feeds.rows_in,
    feeds.rated,
    feeds.not_due,
    feeds.duplicate,
    feeds.superseded,
    feeds.voided,
    feeds.unpriced,
    feeds.rejected,
    feeds.held,
    cast(null as varchar) as currency,
    cast(null as varchar) as charge_kind,
    cast(null as integer) as denominator,
    cast(null as decimal(38, 15)) as before_numerator,
    cast(null as decimal(38, 15)) as shortfall,
    cast(null as decimal(38, 15)) as capped,
    cast(null as decimal(38, 15)) as clipped,
    cast(null as decimal(38, 15)) as rounding_numerator,
    cast(null as decimal(20, 4)) as billed_before,
    cast(null as decimal(20, 4)) as billed
from feed_balances as feeds
cross join run_parameters
union all
select
    run_parameters.run_id,
    cast(null as varchar) as feed,
    cast(null as bigint) as rows_in,
    cast(null as bigint) as rated,
    cast(null as bigint) as not_due,
    cast(null as bigint) as duplicate,
    cast(null as bigint) as superseded,
    cast(null as bigint) as voided,
    cast(null as bigint) as unpriced,
    cast(null as bigint) as rejected,
    cast(null as bigint) as held,
    lines.currency,
    lines.kind as charge_kind,
    lines.denominator,
    sum(lines.before_numerator) as before_numerator,
    sum(lines.shortfall) as shortfall,
    sum(lines.capped) as capped,
    sum(lines.clipped) as clipped,
    sum(lines.rounding_numerator) as rounding_numerator,
    cast(sum(lines.billed_before) as decimal(20, 4)) as billed_before,
    cast(sum(lines.billed) as decimal(20, 4)) as billed
from line_balances as lines
cross join run_parameters
group by run_parameters.run_id, lines.currency, lines.kind, lines.denominator
