"""How rows of usage become a quantity, by each aggregation."""

from fractions import Fraction

from usage_rating.explanation.published import Record
from usage_rating.figures import added, instant, plain

SHOWN_MAX = 20


def quantity_steps(aggregation: str, meter: str, rows: list[Record]) -> tuple[list[str], Fraction]:
    """Sentences that end in the quantity, and the quantity.

    :param rows: the rows that count, in the order in which they occurred
    """
    if not rows:
        return [f"no row of {meter} counts in this cycle, so the quantity is 0"], Fraction(0)
    above_zero = [row for row in rows if row["quantity"] > 0]
    if aggregation == "sum":
        return _sum(meter, rows)
    if aggregation == "count":
        return [f"the rows of {meter} with a quantity above 0: {len(above_zero):,} of {_rows(rows)}"], Fraction(
            len(above_zero)
        )
    if aggregation == "unique":
        return _unique(meter, above_zero)
    if aggregation == "max":
        chosen, says = max(rows, key=lambda row: row["quantity"]), "the highest quantity"
    else:
        chosen, says = rows[-1], "the quantity of the last row, at one instant of the greatest event_id"
    return [
        f"{says} of {_rows(rows)} of {meter}: {plain(chosen['quantity'])}, by {chosen['file']}:{chosen['row_number']} "
        f"at {instant(chosen['occurred_at'])}"
    ], Fraction(chosen["quantity"])


def _sum(meter: str, rows: list[Record]) -> tuple[list[str], Fraction]:
    total = sum((Fraction(row["quantity"]) for row in rows), Fraction(0))
    if len(rows) == 1:
        return [f"the quantity of the one row of {meter}: {plain(total)}"], total
    if len(rows) > SHOWN_MAX:
        return [f"the quantities of {_rows(rows)} of {meter}, added up: {plain(total)}"], total
    parts = [plain(row["quantity"]) for row in rows]
    return [f"the quantities of {_rows(rows)} of {meter}: {added(parts)} = {plain(total)}"], total


def _unique(meter: str, rows: list[Record]) -> tuple[list[str], Fraction]:
    values = sorted({row["value"] for row in rows})
    shown = ", ".join(values[:SHOWN_MAX]) + (", and so on" if len(values) > SHOWN_MAX else "")
    return [f"the different values in {_rows(rows)} of {meter} above 0: {len(values):,} ({shown})"], Fraction(
        len(values)
    )


def _rows(rows: list[Record]) -> str:
    return f"{len(rows):,} row{'' if len(rows) == 1 else 's'}"
