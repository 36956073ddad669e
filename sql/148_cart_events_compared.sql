-- 148_cart_events_compared: each cart event, held against what is known, and whether its key comes more than once.
--
-- in:    known_cart_events, cart_event_keys_repeated, carts, peak_categories, late_rows
-- out:   run_number, file, row_number | the row, cart_number, category_number, is_repeated, misfit
-- grain: one row per cart event ever read
-- as:    view
-- why:   a voided row says nothing that could be held: it only takes its row out.
select
    known.*,
    carts.cart_number,
    categories.category_number,
    repeated.cart_id is not null as is_repeated,
    case
        when late.feed is not null then 'late'
        when known.voided then null
        when carts.rate_card is null then 'unknown_subscription'
        when categories.category is null then 'unknown_category'
    end as misfit
from known_cart_events as known
left join cart_event_keys_repeated as repeated
    on
        known.subscription_id = repeated.subscription_id
        and known.cart_id = repeated.cart_id
        and known.occurred_at = repeated.occurred_at
inner join carts on known.subscription_id = carts.subscription_id and known.cart_id = carts.cart_id
left join peak_categories as categories
    on carts.rate_card = categories.rate_card and known.category = categories.category
left join late_rows as late
    on
        late.feed = 'cart_events'
        and known.run_number = late.run_number
        and known.file = late.file
        and known.row_number = late.row_number
