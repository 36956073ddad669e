-- 142_peak_categories: the categories of carts that each rate card prices, numbered.
--
-- in:    charges
-- out:   rate_card, category | category_number
-- grain: one row per rate card and category that a version of it has a peak charge for
-- why:   numbers are ordered and compared several times faster than texts. 0 is left for a cart that is not active.
select
    rate_card,
    category,
    cast(row_number() over (order by rate_card, category) as integer) as category_number
from charges
where kind = 'peak'
group by rate_card, category
