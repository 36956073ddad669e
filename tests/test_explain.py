"""`explain` and `trace`: what is told is what was published, figures can be redone from the text, rows are there."""

import ast
import csv
import json
import operator
import re
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from tests.folders import ACCOUNTS, CART_EVENTS, SUBSCRIPTIONS, bill, bill_example, csv_text, rows, write
from usage_rating.cli import app
from usage_rating.errors import BadInput
from usage_rating.explanation.explaining import explain, explain_in
from usage_rating.explanation.model import Explanation, Line, as_json
from usage_rating.explanation.prices import price_steps
from usage_rating.explanation.rework import Archive, State, open_archive
from usage_rating.explanation.text import as_text
from usage_rating.explanation.trace import trace_in
from usage_rating.figures import ROUNDINGS, rounded, rounding
from usage_rating.rate_cards import Price, RateCard

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "explain.md").read_text(encoding="utf-8")

# ---- figures redone from the text alone

NUMBER = r"\(?-?[\d,]+(?:\.\d+)?\)*"
EQUATION = re.compile(rf"(\(?{NUMBER}(?: [-+x/] \(?{NUMBER})+) = (-?[\d,]+(?:\.\d+)?)(\.\.\.)?")
ROUNDED = re.compile(r"rounded ([a-z, ]+) to (\d) decimals?: (-?[\d,.]*\d)")
CUT = re.compile(r"= ([\d,.]+?)(\.\.\.)?, cut to (?:a whole number|(\d) decimals?): ([\d,.]*\d)")
OPERATIONS: dict[type, Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def value_of(text: str) -> Fraction:
    """What an arithmetic expression comes to, exactly."""

    def value(node: ast.expr) -> Fraction:
        if isinstance(node, ast.BinOp):
            return OPERATIONS[type(node.op)](value(node.left), value(node.right))
        if isinstance(node, ast.UnaryOp):
            return -value(node.operand)
        assert isinstance(node, ast.Constant), text
        return Fraction(str(node.value))

    plain = re.sub(r"(?<![\d.])0+(?=\d)", "", text.replace(",", "").replace(" x ", " * "))
    return value(ast.parse(plain, mode="eval").body)


def nearest(value: Fraction, mode: str, digits: int) -> Fraction:
    """Rounds as the text says, on its own."""
    units = abs(value) * 10**digits
    low = units.numerator // units.denominator
    rest = units - low
    up = {
        "half up": rest >= Fraction(1, 2),
        "half to even": rest > Fraction(1, 2) or (rest == Fraction(1, 2) and low % 2 == 1),
        "down, to zero": False,
        "up, away from zero": rest > 0,
    }[mode]
    return Fraction(low + up, 10**digits) * (-1 if value < 0 else 1)


def redo(steps: list[str]) -> Fraction | None:
    """Works every equation of some sentences out anew; gives the last figure. Each must be what it says it is."""
    last: Fraction | None = None
    for step in steps:
        for left, right, is_cut in EQUATION.findall(step):
            last, said = value_of(left), value_of(right)
            places = len(right.partition(".")[2])
            off = abs(last) - abs(said)
            assert 0 < off < Fraction(1, 10**places) if is_cut else off == 0, step
        for mode, digits, right in ROUNDED.findall(step):
            assert last is not None, step
            last = nearest(last, mode, int(digits))
            assert last == value_of(right), step
        for _, _, digits, right in CUT.findall(step):
            assert last is not None, step
            scale = 10 ** int(digits or 0)
            last = Fraction(int(last * scale), scale)
            assert last == value_of(right), step
    return last


def lines_in(text: str) -> Iterator[tuple[Fraction, list[str]]]:
    """Each line of a printed explanation: its amount, and its steps."""
    for part in re.split(r"^Line ", text.partition("\nTotal: ")[0], flags=re.MULTILINE)[1:]:
        amount = re.match(r".*, (-?[\d,.]+)$", part.splitlines()[0])
        assert amount, part
        yield value_of(amount[1]), re.findall(r"^  - (.*)", part, re.MULTILINE)


CARD: dict[str, Any] = {
    "rate_card": "any",
    "version": 1,
    "effective_from": date(2024, 1, 1),
    "currency": "USD",
    "cycle": {"every": "1 month", "anchor": "calendar"},
    "plans": {"p": {"fee": {"kind": "recurring", "bill": "advance", "price": {"flat": "1"}}}},
}
FORMS: list[dict[str, Any]] = [
    {"flat": "12.50"},
    {"per_unit": "0.012345678"},
    {
        "graduated": [
            {"up_to": "3", "per_unit": "1.005", "flat": "2"},
            {"up_to": "5.5", "per_unit": "0"},
            {"per_unit": "7"},
        ]
    },
    {
        "volume": [
            {"up_to": "3", "per_unit": "1.005"},
            {"up_to": "100", "per_unit": "0.9", "flat": "4.10"},
            {"per_unit": "0.1"},
        ]
    },
    {"package": {"size": "0.7", "price": "3.333"}},
]


def price_of(form: dict[str, Any], quantity: Fraction) -> Fraction:
    """What SPEC says a quantity costs, worked out without the product."""
    (name, said), above, cost = next(iter(form.items())), Fraction(0), Fraction(0)
    if quantity == 0 or name == "flat":
        return Fraction(said) if quantity else Fraction(0)
    if name == "per_unit":
        return quantity * Fraction(said)
    if name == "package":
        return -(-quantity // Fraction(said["size"])) * Fraction(said["price"])
    for tier in said:
        up_to, flat = Fraction(tier.get("up_to", 10**12)), Fraction(tier.get("flat", 0))
        if name == "volume" and quantity <= up_to:
            return quantity * Fraction(tier["per_unit"]) + flat
        if name == "graduated" and quantity > above:
            cost += (min(quantity, up_to) - above) * Fraction(tier["per_unit"]) + flat
        above = up_to
    return cost


@pytest.mark.parametrize("form", FORMS, ids=lambda form: str(next(iter(form))))
@given(quantity=st.decimals(0, 200, places=6).map(Fraction), mode=st.sampled_from(sorted(ROUNDINGS)))
def test_steps_of_every_price_can_be_redone(form: dict[str, Any], quantity: Fraction, mode: str) -> None:
    card = RateCard.model_validate(CARD | {"rounding": mode})
    steps, exact = price_steps(Price.model_validate(form), quantity, card)
    assert exact == price_of(form, quantity)
    assert redo([*steps, *rounding(exact, card)]) == rounded(exact, card) == nearest(exact, ROUNDINGS[mode], 2)


# ---- every invoice of the sample, and of the example with its corrections


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sample as `input`, billed into `output`."""
    folder = tmp_path_factory.mktemp("sample")
    shutil.copytree(ROOT / "data" / "sample", folder / "input", ignore=shutil.ignore_patterns("README.md"))
    bill(folder, date(2024, 5, 5))
    return folder


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example of the docs, billed on its three nights, in the folders that docs/explain.md names."""
    folder = tmp_path_factory.mktemp("example")
    bill_example(folder / "docs" / "example", folder / "output")
    (folder / "out").symlink_to("output")
    return folder


def all_explained(input_folder: Path, output: Path) -> list[Explanation]:
    """Every invoice; those of one subscription and run are worked out together."""
    with open_archive(input_folder, output) as archive:
        found = "select distinct subscription_id from invoices_before order by all"
        names = archive.engine.execute(found).fetchall()
        return [each for (name,) in names for each in explained_of(archive, name)]


def explained_of(archive: Archive, subscription_id: str) -> Iterator[Explanation]:
    invoices = archive.published.invoices_of(subscription_id)
    states: dict[int, State] = {}
    for each in invoices:
        run = archive.published.run_of(each)
        ids = [other["corrects_invoice_id"] or other["invoice_id"] for other in invoices]
        if run.run_number not in states:
            states[run.run_number] = archive.state(subscription_id, run, ids)
        yield explain_in(archive, each, states[run.run_number])


@pytest.fixture(scope="module")
def of_sample(sample: Path) -> list[Explanation]:
    return all_explained(sample / "input", sample / "output")


@pytest.fixture(scope="module")
def of_example(example: Path) -> list[Explanation]:
    return all_explained(example / "docs" / "example", example / "output")


def check_published(folder: Path, explained: list[Explanation]) -> None:
    names = [
        "line_number",
        "kind",
        "charge",
        "plan",
        "quantity",
        "unit_price",
        "amount",
        "service_start",
        "service_end",
    ]
    published = f"select invoice_id, {', '.join(names)} from invoice_lines"
    told = [
        (each.invoice["invoice_id"], *(getattr(line, name) for name in names))
        for each in explained
        for line in each.lines
    ]
    assert sorted(told, key=str) == sorted(rows(folder, published), key=str)


def check_figures(explained: list[Explanation]) -> None:
    for each in explained:
        text = as_text(each)
        told = list(lines_in(text))
        assert [amount for amount, _ in told] == [line.amount for line in each.lines]
        for amount, steps in told:
            assert redo(steps) == amount, steps
        redo(re.findall(r"^Total: (.*)", text, re.MULTILINE))


def typed(value: Any) -> object:
    """A value of an input file, such that the same instant and the same figure are the same."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=value.tzinfo or UTC)
    if isinstance(value, int | float | Decimal):
        return Fraction(str(value))
    try:
        return Fraction(value)
    except ValueError:
        pass
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return value
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


def read_file(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        return list(pq.read_table(path).to_pylist())
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def check_rows(input_folder: Path, explained: list[Explanation]) -> None:
    files: dict[str, list[dict[str, Any]]] = {}
    rests_on = [own for each in explained for own in (each.cycle.rows, *(line.rows for line in each.lines))]
    named = {row.place: row for named_by in rests_on for row in named_by}
    assert named
    for row in named.values():
        lines = files.setdefault(row.file, read_file(input_folder / row.file))
        there = {name: typed(value) for name, value in lines[row.row_number - 1].items() if value not in (None, "")}
        assert {name: typed(value) for name, value in row.content.items()} == there


def test_lines_explained_are_those_published(
    sample: Path, of_sample: list[Explanation], example: Path, of_example: list[Explanation]
) -> None:
    check_published(sample, of_sample)
    check_published(example, of_example)


def test_every_figure_can_be_redone_from_the_text(of_sample: list[Explanation], of_example: list[Explanation]) -> None:
    check_figures([*of_sample, *of_example])


def test_rows_named_stand_in_the_input_files(
    sample: Path, of_sample: list[Explanation], example: Path, of_example: list[Explanation]
) -> None:
    check_rows(sample / "input", of_sample)
    check_rows(example / "docs" / "example", of_example)


def test_every_line_of_the_sample_rests_on_rows(of_sample: list[Explanation]) -> None:
    assert [
        line for each in of_sample for line in each.lines if not line.rows and line.quantity and not owed(line)
    ] == []


def owed(line: Line) -> bool:
    """A minimum is owed where nothing was used."""
    return line.kind == "minimum" and "no row of" in " ".join(line.steps)


# ---- what each rule tells


def line_of(explained: list[Explanation], subscription_id: str, kind: str, invoice_kind: str = "cycle") -> Line:
    return next(
        line
        for each in explained
        for line in each.lines
        if (each.invoice["subscription_id"], each.invoice["kind"], line.kind) == (subscription_id, invoice_kind, kind)
    )


def test_a_peak_tells_when_by_which_carts_and_without_which(of_example: list[Explanation]) -> None:
    steps = " ".join(line_of(of_example, "sub-oak", "peak").steps)
    assert "2, reached at 2024-01-15 10:00:00 UTC; it lasted 5 days, until 2024-01-20 10:00:00 UTC" in steps
    assert "the second-highest number in the cycle: 1" in steps
    assert "old-cart as Standard on since 2024-01-08 10:00:00 UTC" in steps
    assert "without old-cart, which was on for 12 days of the cycle, the most would be 1, this line 40.00" in steps


def test_a_minimum_tells_days_quota_cut_and_shortfall(of_example: list[Explanation]) -> None:
    steps = " ".join(line_of(of_example, "sub-asha", "minimum").steps)
    for said in (
        "has 7 of 31 days",
        "200 / 31 = 6.4516129032..., cut to 1 decimal: 6.4",
        "44.8, cut to a whole number: 44",
    ):
        assert said in steps
    assert "44 - 5 = 39" in steps


def test_a_limit_tells_its_raises_the_row_that_crossed_and_what_stays_clipped(of_example: list[Explanation]) -> None:
    steps = " ".join(line_of(of_example, "sub-harbor", "spending_limit").steps)
    for said in (
        "in force when the cycle began: 100.00, the rate card's own",
        "raised to 150.00, agreed at 2024-04-11 10:00:00 UTC (spending_limits/spending_limits.csv:1)",
        "event day-5 (usage/usage.csv:2), messages (basic): 60.00 + 60.00 = 120.00, and the limit is 100.00: this row "
        "crosses it. Charged 40.00, clipped 60.00 - 40.00 = 20.00",
        "clipped under the limit of 100.00: 20.00, before the raise to 150.00, and it stays clipped",
        "alert: 90 % of 100.00 was reached at 2024-04-09 10:00:00 UTC by event day-5, told by run 000001",
    ):
        assert said in steps


def test_an_upgrade_tells_the_day_of_the_cycle(of_example: list[Explanation]) -> None:
    steps = " ".join(line_of(of_example, "sub-lumen", "upgrade").steps)
    assert "day 15 of 30" in steps
    assert "(15.00 - 5.00) x 15 / 30 = 5.00" in steps


def test_a_correction_names_the_row_that_made_the_difference(of_example: list[Explanation]) -> None:
    peak = line_of(of_example, "sub-oak", "peak", "correction")
    assert [(row.file, row.row_number, row.note) for row in peak.rows] == [
        ("cart_events/2024-06-06.csv", 1, "new: counts now")
    ]
    usage = line_of(of_example, "sub-harbor", "usage", "correction")
    assert usage.details["amount_before"], usage.details["amount_after"] == ("140.00", "155.00")
    assert [(row.file, row.row_number) for row in usage.rows] == [("usage/2024-06-07.csv", 1)]


def test_a_cycle_tells_where_its_edges_come_from(of_example: list[Explanation]) -> None:
    (found,) = [
        each
        for each in of_example
        if each.invoice["subscription_id"] == "sub-year-end" and str(each.invoice["cycle_start"]) == "2024-02-29"
    ]
    said = " ".join(found.cycle.says)
    assert "counted from the day the account was created, 2023-12-31" in said
    assert "begins 2 months after it (the month's last day, for it has no later one)" in said


# ---- rows and the lines they fed

MIXED = """\
rate_card: mixed
version: 1
effective_from: 2023-01-01
reason: First price list.
currency: USD
cycle: {every: 1 month, anchor: account_created}
spending_limit: {default: "10.00", alert_at: ["0.9"]}
plans:
  basic:
    fee: {kind: recurring, bill: advance, price: {flat: "5.00"}}
    carts: {kind: peak, category: Standard, price: {per_unit: "40.00"}}
    messages: {kind: usage, meter: messages, aggregation: sum, price: {per_unit: "0.5"}, minimum: {quantity: "30"}}
  pro:
    exports: {kind: usage, meter: exports, aggregation: sum, price: {per_unit: "1"}}
"""
USAGE = "subscription_id,event_id,meter,quantity,occurred_at,revision,voided"
WORLD = {
    "rate_cards/mixed.v1.yaml": MIXED,
    "accounts/1.csv": csv_text(ACCOUNTS, "A1,2024-01-10,UTC"),
    "subscriptions/1.csv": csv_text(
        SUBSCRIPTIONS, "S1,2024-01-10,A1,mixed,basic,started", "S9,2024-01-10,A9,mixed,basic,started"
    ),
    "usage/1.csv": csv_text(
        USAGE,
        "S1,e1,messages,10,2024-01-11,,",
        "S1,e1,messages,10,2024-01-11,,",
        "S1,e2,messages,4,2024-01-12,,",
        "S1,e1,messages,11,2024-01-11,,",
        "S1,e3,letters,5,2024-01-13,,",
        "S1,e4,messages,-5,2024-01-13,,",
        "S1,e5,exports,5,2024-01-13,,",
        "S1,e6,messages,15,2024-01-14,,",
        "S1,e7,messages,1,2024-02-10T00:00:00Z,,",
        "S2,e8,messages,1,2024-01-14,,",
    ),
    "spending_limits/1.csv": csv_text("subscription_id,agreed_at,limit_amount", "S1,2024-01-20,12.00"),
    "one_off_charges/1.csv": csv_text(
        "charge_id,subscription_id,description,amount,purchased_at", "p1,S1,Theme,49.00,2024-01-15"
    ),
    "cart_events/1.csv": csv_text(
        CART_EVENTS,
        "S1,c1,2024-01-11,Standard,active",
        "S1,c1,2024-01-12,Standard,active",
        "S1,c2,2024-01-13,Standard,active",
        "S1,c2,2024-01-14,Standard,disabled",
        "S1,c3,2024-01-15,Standard,active",
    ),
}
LATE = {
    "usage/2.csv": csv_text(
        USAGE, "S1,e2,messages,4,2024-01-12,1,true", "S1,e6,messages,16,2024-02-11,1,", "S1,e1,messages,10,2024-01-11,,"
    ),
    "cart_events/2.csv": csv_text(CART_EVENTS, "S1,c3,2024-01-13 12:00Z,Standard,active"),
}
BECAME = {
    "usage/1.csv": [
        *("counted", "duplicate", "superseded", "rejected", "held", "rejected", "unpriced", "superseded", "counted"),
        "held",
    ],
    "usage/2.csv": ["voided", "counted", "duplicate"],
    "spending_limits/1.csv": ["counted"],
    "one_off_charges/1.csv": ["counted"],
    "cart_events/1.csv": ["counted"] * 5,
    "cart_events/2.csv": ["counted"],
    "subscriptions/1.csv": ["counted", "held"],
    "accounts/1.csv": ["counted"],
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One customer with rows of every outcome, an invoice and its correction."""
    folder = tmp_path_factory.mktemp("world")
    bill(folder, date(2024, 2, 10), WORLD, max_rejected=Decimal(1))
    bill(folder, date(2024, 2, 11), LATE, max_rejected=Decimal(1))
    return folder


def test_rows_lead_to_the_lines_whose_explanation_names_them(example: Path, of_example: list[Explanation]) -> None:
    named = {
        (row.place, each.invoice["invoice_id"], line.line_number)
        for each in of_example
        for line in each.lines
        for row in line.rows
    }
    with open_archive(example / "docs" / "example", example / "output") as archive:
        fed = {
            ((traced.file, traced.row_number, traced.read_in_run), to.invoice["invoice_id"], to.line["line_number"])
            for record in archive.chain.inputs
            for traced in (trace_in(archive, record, number) for number in range(1, record.rows + 1))
            for to in traced.fed
        }
    assert fed == named


def test_every_row_leads_to_the_lines_that_name_it_and_back(world: Path) -> None:
    with open_archive(world / "input", world / "output") as archive:
        explained = list(explained_of(archive, "S1"))
        assert [each.invoice["kind"] for each in explained] == ["opening", "cycle", "correction"]
        named = {
            (row.file, row.row_number, each.invoice["invoice_id"], line.line_number)
            for each in explained
            for line in each.lines
            for row in line.rows
        }
        files = {record.name: record for record in archive.chain.inputs}
        traced = {
            name: [trace_in(archive, files[name], number) for number in range(1, len(told) + 1)]
            for name, told in BECAME.items()
        }
    assert {name: [each.verdict for each in own] for name, own in traced.items()} == BECAME
    fed = {
        (each.file, each.row_number, to.invoice["invoice_id"], to.line["line_number"])
        for own in traced.values()
        for each in own
        for to in each.fed
    }
    assert fed == named
    usage = traced["usage/1.csv"]
    assert usage[1].says == ["it repeats usage/1.csv:1, and counts once"]
    assert usage[2].says == ["it is taken out by usage/2.csv:1, which has revision 1"]
    assert usage[7].says == ["it is superseded by usage/2.csv:2, which has revision 1"]
    assert usage[8].says[-1] == "its cycle, 2024-02-10 to 2024-03-10, is not invoiced yet"
    assert traced["usage/2.csv"][0].says == ["it takes out usage/1.csv:3"]
    assert usage[5].says[0].startswith("negative_quantity: ")
    check_figures(explained)
    check_published(world, explained)
    check_rows(world / "input", explained)


# ---- the commands


def told(folder: Path, *words: str, code: int = 0) -> str:
    given = ["--input", str(folder / "input"), "--output", str(folder / "output")]
    result = CliRunner().invoke(app, [*words, *given])
    if code:
        assert isinstance(result.exception, BadInput), result.output
        return str(result.exception)
    assert result.exit_code == 0, result.exception
    return result.output


def test_an_invoice_is_found_by_id_and_by_number_and_told_as_json(world: Path) -> None:
    (invoice_id,) = rows(world, "select invoice_id from invoices where kind = 'cycle'")[0]
    by_id, by_number = told(world, "explain", invoice_id), told(world, "explain", "mixed/2")
    assert by_id == by_number == told(world, "explain", "2")
    data = json.loads(told(world, "explain", "2", "--json"))
    with open_archive(world / "input", world / "output") as archive:
        assert data == as_json(explain_in(archive, archive.published.invoice("2")))
    assert data["invoice"]["total"] == str(Decimal(data["invoice"]["total"]))
    assert [line["line_number"] for line in data["lines"]] == list(range(1, len(data["lines"]) + 1))
    assert "Line 2: " in told(world, "explain", "2", "--line", "2")
    assert "Line 1: " not in told(world, "explain", "2", "--line", "2")


def test_a_row_is_told_for_persons_and_programs(world: Path) -> None:
    text = told(world, "trace", "usage/1.csv:1")
    assert "counted: it counts" in text
    assert re.search(r"fed line \d of mixed/2 \(cycle, in_[0-9a-f]{32}\): usage messages, 14.5000 USD", text)
    (data,) = json.loads(told(world, "trace", "usage/1.csv:1", "--json"))
    assert data["content"]["event_id"] == "e1"
    assert {line["kind"] for line in data["lines"]} >= {"usage", "spending_limit"}


def test_what_is_not_there_is_said(world: Path) -> None:
    for words, said in (
        (("explain", "in_0"), "in_0: no such invoice was issued"),
        (("explain", "99"), "99: no such invoice was issued"),
        (("explain", "2", "--line", "40"), "--line 40: 2 has "),
        (("trace", "usage/9.csv:1"), "usage/9.csv: no run has read such a file"),
        (("trace", "usage/1.csv:11"), "usage/1.csv:11: the file has 10 rows"),
        (("trace", "usage/1.csv"), "usage/1.csv: not a row. Give FILE:ROW"),
    ):
        assert told(world, *words, code=2).startswith(said)


def test_a_number_that_several_cards_use_names_them(tmp_path: Path) -> None:
    other = MIXED.replace("rate_card: mixed", "rate_card: other")
    started = csv_text(SUBSCRIPTIONS, "S2,2024-01-10,A1,other,basic,started")
    bill(
        tmp_path,
        date(2024, 2, 10),
        WORLD | {"rate_cards/other.v1.yaml": other, "subscriptions/2.csv": started},
        max_rejected=Decimal(1),
    )
    said = told(tmp_path, "explain", "1", code=2)
    assert re.fullmatch(r"1: each rate card .*: mixed/1 is in_\w+; other/1 is in_\w+\.", said)
    assert "of other" in told(tmp_path, "explain", "other/1").splitlines()[0]


def test_without_its_rate_card_nothing_is_explained(world: Path, tmp_path: Path) -> None:
    write(tmp_path, {"rate_cards/mixed.v1.yaml": MIXED.replace("First", "Another")})
    with pytest.raises(BadInput, match="mixed v1 is not there as run 000001 had it"):
        explain(tmp_path, world / "output", "2")


def test_a_figure_that_does_not_come_out_is_not_explained(world: Path) -> None:
    with open_archive(world / "input", world / "output") as archive:
        invoice = archive.published.invoice("2")
        archive.engine.execute(
            "create or replace table lines_changed as select * replace (amount + 1 as amount) from invoice_lines_before"
        )
        archive.engine.execute("create or replace view invoice_lines_before as from lines_changed")
        with pytest.raises(BadInput, match="worked out once more it is not what was published"):
            explain_in(archive, invoice)


# ---- the page


def blocks() -> list[str]:
    return re.findall(r"^```console\n\$ usage-rating (.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("block", blocks(), ids=lambda block: str(block).partition(" --input")[0])
def test_the_page_shows_what_the_commands_print(block: str, example: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(example)
    command, _, shown = block.partition("\n")
    result = CliRunner().invoke(app, command.split())
    assert result.exit_code == 0, result.exception
    assert [line.rstrip() for line in result.output.splitlines()] == shown.splitlines()


def test_the_page_shows_an_invoice_a_rule() -> None:
    kinds = {kind for block in blocks() for kind in re.findall(r"^Line \d+: (\w+) ", block, re.MULTILINE)}
    assert kinds == {"recurring", "peak", "usage", "minimum", "cap", "upgrade", "one_off", "spending_limit"}
    assert any(re.search("^  correction of ", block, re.MULTILINE) for block in blocks())
    assert any(block.startswith("trace ") for block in blocks())
