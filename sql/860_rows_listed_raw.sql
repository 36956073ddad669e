-- 860_rows_listed_raw: what each listed row says, from its typed values.
--
-- in:    rows_listed, accounts_judged, subscriptions_judged, known_cart_events, known_cart_snapshots,
--        usage_rows_judged, spending_limits_judged, one_off_charges_judged, credit_topups_judged
-- out:   feed, read_in, file, row_number | raw
-- grain: one row per listed row that could be typed
-- why:   the text as delivered is kept only of rows that could not be typed; of all others nothing was lost in typing.
select
    listed.feed,
    listed.read_in,
    listed.file,
    listed.row_number,
    cast(
        to_json(struct_pack(
            account_id := judged.account_id,
            updated_at := cast(judged.updated_at as varchar),
            created_at := cast(judged.created_at as varchar),
            time_zone := judged.time_zone,
            master_account_id := judged.master_account_id,
            name := judged.name,
            revision := cast(judged.revision as varchar),
            voided := cast(judged.voided as varchar)
        )) as varchar
    ) as raw
from rows_listed as listed
inner join accounts_judged as judged
    on
        listed.feed = 'accounts'
        and cast(listed.read_in as integer) = judged.run_number
        and listed.file = judged.file
        and listed.row_number = judged.row_number
union all
select
    listed.feed,
    listed.read_in,
    listed.file,
    listed.row_number,
    cast(
        to_json(struct_pack(
            subscription_id := judged.subscription_id,
            effective_at := cast(judged.effective_at as varchar),
            account_id := judged.account_id,
            rate_card := judged.rate_card,
            plan := judged.plan,
            event := judged.event,
            takes_effect := judged.takes_effect,
            revision := cast(judged.revision as varchar),
            voided := cast(judged.voided as varchar)
        )) as varchar
    ) as raw
from rows_listed as listed
inner join subscriptions_judged as judged
    on
        listed.feed = 'subscriptions'
        and cast(listed.read_in as integer) = judged.run_number
        and listed.file = judged.file
        and listed.row_number = judged.row_number
union all
select
    listed.feed,
    listed.read_in,
    listed.file,
    listed.row_number,
    cast(
        to_json(struct_pack(
            subscription_id := known.subscription_id,
            cart_id := known.cart_id,
            occurred_at := cast(known.occurred_at as varchar),
            category := known.category,
            state := known.state,
            revision := cast(known.revision as varchar),
            voided := cast(known.voided as varchar)
        )) as varchar
    ) as raw
from rows_listed as listed
inner join known_cart_events as known
    on
        listed.feed = 'cart_events'
        and cast(listed.read_in as integer) = known.run_number
        and listed.file = known.file
        and listed.row_number = known.row_number
union all
select
    listed.feed,
    listed.read_in,
    listed.file,
    listed.row_number,
    cast(
        to_json(struct_pack(
            snapshot_at := cast(known.snapshot_at as varchar),
            subscription_id := known.subscription_id,
            cart_id := known.cart_id,
            category := known.category,
            state := known.state,
            revision := cast(known.revision as varchar),
            voided := cast(known.voided as varchar)
        )) as varchar
    ) as raw
from rows_listed as listed
inner join known_cart_snapshots as known
    on
        listed.feed = 'cart_snapshots'
        and cast(listed.read_in as integer) = known.run_number
        and listed.file = known.file
        and listed.row_number = known.row_number
        and known.state is not null
union all
select
    listed.feed,
    listed.read_in,
    listed.file,
    listed.row_number,
    cast(
        to_json(struct_pack(
            subscription_id := judged.subscription_id,
            event_id := judged.event_id,
            meter := judged.meter,
            quantity := cast(judged.quantity as varchar),
            occurred_at := cast(judged.occurred_at as varchar),
            value := judged.value,
            revision := cast(judged.revision as varchar),
            voided := cast(judged.voided as varchar)
        )) as varchar
    ) as raw
from rows_listed as listed
inner join usage_rows_judged as judged
    on
        listed.feed = 'usage'
        and cast(listed.read_in as integer) = judged.run_number
        and listed.file = judged.file
        and listed.row_number = judged.row_number
union all
select
    listed.feed,
    listed.read_in,
    listed.file,
    listed.row_number,
    cast(
        to_json(struct_pack(
            subscription_id := judged.subscription_id,
            agreed_at := cast(judged.agreed_at as varchar),
            limit_amount := cast(judged.limit_amount as varchar),
            revision := cast(judged.revision as varchar),
            voided := cast(judged.voided as varchar)
        )) as varchar
    ) as raw
from rows_listed as listed
inner join spending_limits_judged as judged
    on
        listed.feed = 'spending_limits'
        and cast(listed.read_in as integer) = judged.run_number
        and listed.file = judged.file
        and listed.row_number = judged.row_number
union all
select
    listed.feed,
    listed.read_in,
    listed.file,
    listed.row_number,
    cast(
        to_json(struct_pack(
            charge_id := judged.charge_id,
            subscription_id := judged.subscription_id,
            description := judged.description,
            amount := cast(judged.amount as varchar),
            purchased_at := cast(judged.purchased_at as varchar),
            revision := cast(judged.revision as varchar),
            voided := cast(judged.voided as varchar)
        )) as varchar
    ) as raw
from rows_listed as listed
inner join one_off_charges_judged as judged
    on
        listed.feed = 'one_off_charges'
        and cast(listed.read_in as integer) = judged.run_number
        and listed.file = judged.file
        and listed.row_number = judged.row_number
union all
select
    listed.feed,
    listed.read_in,
    listed.file,
    listed.row_number,
    cast(
        to_json(struct_pack(
            topup_id := judged.topup_id,
            account_id := judged.account_id,
            amount := cast(judged.amount as varchar),
            purchased_at := cast(judged.purchased_at as varchar),
            revision := cast(judged.revision as varchar),
            voided := cast(judged.voided as varchar)
        )) as varchar
    ) as raw
from rows_listed as listed
inner join credit_topups_judged as judged
    on
        listed.feed = 'credit_topups'
        and cast(listed.read_in as integer) = judged.run_number
        and listed.file = judged.file
        and listed.row_number = judged.row_number
