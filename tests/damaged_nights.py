"""Nights whose results were damaged on purpose: what the checks of sql/9x are there to find.

A check that finds nothing in good results has said nothing yet. Each entry damages a page's night as a fault in a
stage would, and says the rows that one check must give.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Damage:
    """A page of edge_pages/, the number of its night, what is done to its results, and what a check must say of it."""

    page: str
    night: int
    statement: str
    check: str
    found: tuple[tuple[Any, ...], ...]


CARTS = "carts-from-what-is-said-of-them-to-how-many-are-active"
INVOICES = "what-an-invoice-its-lines-and-the-history-say"
JANUARY, FEBRUARY, MAY = "2024-01-01", "2024-02-01", "2024-05-01"
S1 = "in_0242603ee5b826d436f0773fe471767f"
S2 = "in_c306cc3dbe98dd431107fe0e0799d605"

# (subscription, cycle_start) of each cycle that does not tile; the page has January and February of S1, S2 and S3.
TILING = {
    "update billing_cycles set cycle_end = cycle_start where subscription_id = 'S1' and cycle_start = '2024-02-01'": (
        ("S1", FEBRUARY),
    ),
    "update billing_cycles set ends_at = starts_at - interval 1 microsecond "
    "where subscription_id = 'S2' and cycle_start = '2024-02-01'": (("S2", FEBRUARY),),
    "update billing_cycles set cycle_end = cycle_end - 1 where subscription_id = 'S1' and cycle_start = '2024-01-01'": (
        ("S1", JANUARY),
    ),
    "update billing_cycles set cycle_start = cycle_start - 1, cycle_end = cycle_end "
    "where subscription_id = 'S3' and cycle_start = '2024-02-01'": (("S3", JANUARY),),
    "update billing_cycles set ends_at = ends_at + interval 1 microsecond "
    "where subscription_id = 'S2' and cycle_start = '2024-01-01'": (("S2", JANUARY),),
}
# (subscription, cycle_start, invoices) of each active cycle that is due and has none or too many.
ONE_INVOICE = {
    "delete from invoices where subscription_id = 'S1'": (("S1", JANUARY, 0),),
    "insert into invoices from invoices where subscription_id = 'S2'": (("S2", JANUARY, 2),),
    "update invoices set kind = 'correction' where subscription_id = 'S3'": (("S3", JANUARY, 0),),
    "insert into invoices select * replace ('correction' as kind) from invoices where subscription_id = 'S2'": (),
    "insert into invoices select * replace (date '2024-05-01' as cycle_start) from invoices "
    "where subscription_id = 'S1'": (),
    "insert into invoices select i.* replace (date '2024-05-01' as cycle_start) from invoices i, range(2) "
    "where subscription_id = 'S1'": (("S1", MAY, 2),),
    "delete from invoices": (("S1", JANUARY, 0), ("S2", JANUARY, 0), ("S3", JANUARY, 0)),
}
TWICE = "insert into invoices select * replace (date '2024-01-01' as cycle_start) from invoices"
# (invoice) whose total is not the sum of its lines.
SUMS = {
    "update invoices set total = total + 0.01 where subscription_id = 'S1'": ((S1,),),
    "delete from invoices where subscription_id = 'S1'": ((S1,),),
    "delete from invoice_lines where invoice_id = (select invoice_id from invoices where subscription_id = 'S2')": (
        (S2,),
    ),
    "delete from invoice_lines where charge = 'fee'": ((S1,), (S2,)),
}
# (feed) of which rows came to nothing, to two things, or to less than none; the page has rows of three feeds.
FEED_BALANCES = {
    "update feed_balances set rated = rated - 1 where feed = 'accounts'": (("accounts",),),
    "update feed_balances set rows_in = rows_in + 1 where feed = 'cart_events'": (("cart_events",),),
    "update feed_balances set held = held + 1, voided = voided + 1 where feed <> 'accounts'": (
        ("cart_events",),
        ("subscriptions",),
    ),
    "update feed_balances set rated = rated + 1, superseded = -1 where feed = 'accounts'": (("accounts",),),
    "update feed_balances set rated = rated + 1, duplicate = -1 where feed = 'accounts'": (("accounts",),),
    "update feed_balances set rated = -1, not_due = rows_in + 1 where feed = 'accounts'": (("accounts",),),
    "update feed_balances set rated = rated - 1, unpriced = 1 where feed = 'accounts'": (),
    "update feed_balances set rated = rated - 1, rejected = 1 where feed = 'accounts'": (),
}
# (invoice, kind, charge, plan, fee_from) of lines that their figures do not come to.
FEE, CARTS_OF_S1 = ("recurring", "fee", "plus", JANUARY), ("peak", "standard_carts", "plus", "")
LINE_BALANCES = {
    "update line_balances set billed = billed + 0.01 where kind = 'recurring'": ((S1, *FEE), (S2, *FEE)),
    "update line_balances set before_numerator = before_numerator + 0.001 where kind = 'peak' and billed = 30": (
        (S1, *CARTS_OF_S1),
    ),
    "update line_balances set billed_before = 5 where kind = 'peak' and billed = 30": ((S1, *CARTS_OF_S1),),
    "update line_balances set shortfall = 5 where kind = 'peak' and billed = 30": ((S1, *CARTS_OF_S1),),
    "update line_balances set capped = 5 where kind = 'peak' and billed = 30": ((S1, *CARTS_OF_S1),),
    "update line_balances set clipped = 5 where kind = 'peak' and billed = 30": ((S1, *CARTS_OF_S1),),
    "update line_balances set capped = 5, shortfall = 5 where kind = 'peak' and billed = 30": (),
    "update line_balances set clipped = 5, shortfall = 5, denominator = 31, before_numerator = 930 "
    "where kind = 'peak' and billed = 30": (),
    "update line_balances set billed_before = 5, billed = 25 where kind = 'peak' and billed = 30": (),
    "update line_balances set before_numerator = 29.99, rounding_numerator = 0.01 where billed = 30": (
        (S1, *CARTS_OF_S1),
    ),
    "update line_balances set before_numerator = 30.01, rounding_numerator = -0.01 where billed = 30": (
        (S1, *CARTS_OF_S1),
    ),
    "update line_balances set before_numerator = 29.991, rounding_numerator = 0.009 where billed = 30": (),
    "update line_balances set before_numerator = 29.99, rounding_numerator = 0.01, figures = 2 where billed = 30": (),
    "update line_balances set before_numerator = 929.7, rounding_numerator = 0.3, denominator = 31 "
    "where billed = 30": (),
    "update line_balances set before_numerator = 29.9, rounding_numerator = 0.1, minor_digits = 0 "
    "where billed = 30": (),
    "update line_balances set before_numerator = 29, rounding_numerator = 1, minor_digits = 0 where billed = 30": (
        (S1, *CARTS_OF_S1),
    ),
    "update line_balances set before_numerator = 29.999, rounding_numerator = 0.001, minor_digits = 3 "
    "where billed = 30": ((S1, *CARTS_OF_S1),),
    "update line_balances set before_numerator = 29.9999, rounding_numerator = 0.0001, minor_digits = 4 "
    "where billed = 30": ((S1, *CARTS_OF_S1),),
    "update line_balances set figures = 0 where kind = 'recurring'": (),
}

DAMAGES = (
    *(Damage(CARTS, 1, statement, "check_cycles_tile", found) for statement, found in TILING.items()),
    *(Damage(CARTS, 1, statement, "check_one_invoice_a_cycle", found) for statement, found in ONE_INVOICE.items()),
    Damage(INVOICES, 2, f"{TWICE} where subscription_id = 'S1'", "check_one_invoice_a_cycle", (("S1", JANUARY, 2),)),
    *(Damage(INVOICES, 1, statement, "check_lines_add_up", found) for statement, found in SUMS.items()),
    *(Damage(INVOICES, 1, statement, "check_feeds_balance", found) for statement, found in FEED_BALANCES.items()),
    *(Damage(INVOICES, 1, statement, "check_lines_balance", found) for statement, found in LINE_BALANCES.items()),
)
