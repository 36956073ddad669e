-- 520_prices: what each quantity costs, exactly, before and after its charge's own cap.
--
-- in:    quantities_to_price, price_tiers
-- out:   subscription_id, cycle_start, plan, charge, part, event_id | amount_uncapped, amount, ...
-- grain: one row per quantity asked for; a quantity of 0 costs nothing
-- why:   one formula prices every form but the package: what the tier costs up to its lower bound, and the units above
--        it. Started packages are charged whole; in millionths, so that the division is whole.
with priced as (
    select
        asked.*,
        case
            when asked.quantity = 0 then cast(0 as decimal(38, 15))
            when asked.price_form = 'package'
                then
                    cast(
                        cast(
                            (
                                cast(asked.quantity * 1000000 as bigint)
                                + cast(asked.package_size * 1000000 as bigint)
                                - 1
                            )
                            // cast(asked.package_size * 1000000 as bigint) as decimal(18, 0)
                        ) * asked.unit_price as decimal(38, 15)
                    )
            else
                tiers.amount_before + cast((asked.quantity - tiers.above) * tiers.unit_price as decimal(38, 15))
        end as amount_uncapped
    from quantities_to_price as asked
    left join price_tiers as tiers
        on
            asked.rate_card = tiers.rate_card
            and asked.rate_card_version = tiers.rate_card_version
            and asked.plan = tiers.plan
            and asked.charge = tiers.charge
            and asked.quantity > tiers.above
            and (tiers.up_to is null or asked.quantity <= tiers.up_to)
)

select
    subscription_id,
    cycle_start,
    plan,
    charge,
    part,
    event_id,
    quantity,
    amount_uncapped,
    least(amount_uncapped, coalesce(cast(cap as decimal(38, 15)), amount_uncapped)) as amount
from priced
