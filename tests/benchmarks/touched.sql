-- What a night touches of a feed: its own rows, and those of the cycles that fall due in it.
select before.*
from before
inner join cycles_due
    on
        before.subscription_id = cycles_due.subscription_id
        and before.occurred_at >= cycles_due.starts_at
        and before.occurred_at < cycles_due.ends_at
union all
select *
from new
