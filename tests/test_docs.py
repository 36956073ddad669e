"""What docs/ says is what happens: lists are the code's, figures are a run's, messages are those of a refusal."""

import ast
import doctest
import gzip
import inspect
import json
import operator
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, get_args

import duckdb
import pyarrow as pa
import pytest
import sqlglot
from sqlglot import expressions as exp
from typer.testing import CliRunner

from tests.folders import ACCOUNTS, CART_EVENTS, CART_SNAPSHOTS, ONE_CUSTOMER, SUBSCRIPTIONS, bill, csv_text, rows
from tests.folders import CARD as CARD_OF_CARTS
from tests.folders import write as write_folder
from tests.worked_example import Expectation, MarkdownTable, differences, read_table
from usage_rating import csv_lines, ingest, input_files, rate_cards
from usage_rating.cli import app
from usage_rating.errors import BadInput
from usage_rating.feeds import FEEDS, Column, ColumnType
from usage_rating.input_files import check, files_in, refuse_if_changed
from usage_rating.night import Night, run_night
from usage_rating.rate_card_files import read_rate_cards
from usage_rating.rate_cards import CardPart, RateCard
from usage_rating.settings import Settings
from usage_rating.sql_files import SQL_FOLDER, read_sql
from usage_rating.stages import all_stages
from usage_rating.tables import TABLES

DOCS = Path(__file__).parents[1] / "docs"
EXAMPLE = DOCS / "example"
PAGES = {path.name: path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("*.md"))}
NIGHTS = {"2024-04-10": "", "2024-06-06": "cart_events/2024-06-06.csv", "2024-06-07": "usage/2024-06-07.csv"}
TYPE_WORDS = {
    ColumnType.TEXT: "text",
    ColumnType.INSTANT: "time",
    ColumnType.QUANTITY: "quantity",
    ColumnType.AMOUNT: "amount",
    ColumnType.WHOLE_NUMBER: "whole number",
    ColumnType.FLAG: "true or false",
    ColumnType.TIME_ZONE: "time zone",
}


@dataclass(frozen=True)
class Shown:
    """A table of a page, with the heading and the line of prose above it."""

    heading: str
    intro: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def tables_of(page: str) -> Iterator[Shown]:
    heading = intro = ""
    for block in re.sub(r"^```.*?^```", "", PAGES[page], flags=re.DOTALL | re.MULTILINE).split("\n\n"):
        text = block.strip()
        if text.startswith("#"):
            heading = text.lstrip("# ")
        elif text.startswith("|"):
            table = read_table(text, heading)
            yield Shown(heading, intro, table.columns, table.rows)
        else:
            intro = text.splitlines()[-1] if text else intro


def table_under(page: str, heading: str) -> Shown:
    return next(table for table in tables_of(page) if table.heading == heading)


def blocks_of(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGES[page], flags=re.DOTALL | re.MULTILINE)


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


# The lists


def column_rows(columns: tuple[Column, ...], key: tuple[str, ...]) -> list[tuple[str, str, str]]:
    def needed(column: Column) -> str:
        if column.name in key:
            return "key" if column.is_required else "key, may be empty"
        return "yes" if column.is_required else "no"

    def kind(column: Column) -> str:
        return "one of " + ", ".join(f"`{c}`" for c in column.choices) if column.choices else TYPE_WORDS[column.type]

    return [(f"`{column.name}`", kind(column), needed(column)) for column in columns]


@pytest.mark.parametrize("feed", FEEDS.values(), ids=lambda feed: str(feed.name))
def test_columns_of_a_feed_are_those_of_the_contract(feed: Any) -> None:
    own, common = (table_under("feeds.md", heading).rows for heading in (feed.name, "Every feed"))
    assert [row[:3] for row in (*own, *common)] == column_rows(feed.columns, feed.key)


def test_kinds_of_values_are_all_explained() -> None:
    explained = {row[0] for row in table_under("feeds.md", "How values are written").rows}
    assert explained == {*TYPE_WORDS.values(), "one of `a`, `b`"}


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: str(table.name))
def test_columns_of_a_table_are_those_published(table: Any) -> None:
    shown = table_under("tables.md", table.name)
    assert [(code(row[0])[0], row[1].lower()) for row in shown.rows] == [
        (name, kind.replace(" ", "")) for name, kind in table.columns.items()
    ]


CARD_PARTS: dict[str, type[CardPart]] = {
    "The card": RateCard,
    "cycle": rate_cards.Cycle,
    "plan_change": rate_cards.PlanChange,
    "spending_limit": rate_cards.SpendingLimit,
    "recurring charge": rate_cards.RecurringCharge,
    "peak charge": rate_cards.PeakCharge,
    "usage charge": rate_cards.UsageCharge,
    "minimum": rate_cards.Minimum,
    "price": rate_cards.Price,
    "tier": rate_cards.Tier,
    "package": rate_cards.Package,
}


def test_every_part_of_a_card_is_explained() -> None:
    models = {m for _, m in inspect.getmembers(rate_cards, inspect.isclass) if issubclass(m, CardPart)}
    assert models - {CardPart} == set(CARD_PARTS.values())


@pytest.mark.parametrize("heading", CARD_PARTS)
def test_keys_of_a_card_are_those_of_its_model(heading: str) -> None:
    fields = CARD_PARTS[heading].model_fields
    shown = table_under("rate-cards.md", heading)
    assert [code(row[0]) for row in shown.rows] == [[name] for name in fields]
    for row, (name, field) in zip(shown.rows, fields.items(), strict=True):
        assert (row[2] == "needed") == field.is_required(), name
        words = [word for part in (field.annotation, *get_args(field.annotation)) for word in get_args(part)]
        if choices := [word for word in words if isinstance(word, str)]:
            assert code(row[1]) == choices
        if isinstance(field.default, str | int) and field.default != "":
            assert code(row[2]) == [str(field.default)]


def test_the_complete_card_uses_every_key() -> None:
    (shown,) = blocks_of("rate-cards.md", "yaml")
    assert shown == (EXAMPLE / "rate_cards/parcel-desk.v1.yaml").read_text(encoding="utf-8")
    (file,) = [file for file in read_rate_cards(EXAMPLE / "rate_cards") if file.card.rate_card == "parcel-desk"]
    used = {(type(part), key) for part in parts_of(file.card) for key in part.model_fields_set}
    assert {(model, key) for model in CARD_PARTS.values() for key in model.model_fields} - used == set()


def parts_of(value: object) -> Iterator[CardPart]:
    if isinstance(value, CardPart):
        yield value
        inner: list[object] = [getattr(value, name) for name in type(value).model_fields]
    elif isinstance(value, dict):
        inner = list(value.values())
    else:
        inner = list(value) if isinstance(value, list) else []
    for part in inner:
        yield from parts_of(part)


# Refusals


def reasons_in_code() -> set[str]:
    """Every reason for which the stages, the macros that type values, and the reader of files refuse a row."""
    found: set[str] = set()
    for stage in all_stages():
        if stage.name == "invoices_decided":
            continue  # its reasons hold an invoice, not a row
        for alias in sqlglot.parse_one(stage.sql, read="duckdb").find_all(exp.Alias):
            if alias.alias in ("reason", "misfit", "fault"):
                found |= {literal.this for literal in answers(alias.this) if literal.is_string}
    found |= set(re.findall(r"'reason': '(\w+)'", read_sql("ingest/types.sql")))
    found |= set(re.findall(r'ConstantExpression\("(\w+)"\)', inspect.getsource(ingest)))
    return found - {"refused"}  # a verdict on a snapshot's row that was rejected, and is listed as such, before


def answers(expression: exp.Expression) -> Iterator[exp.Literal]:
    """What an expression can come to, without what it compares."""
    if isinstance(expression, exp.Literal):
        yield expression
    elif isinstance(expression, exp.Case):
        for branch in expression.args["ifs"]:
            yield from answers(branch.args["true"])
        if default := expression.args.get("default"):
            yield from answers(default)


def test_reasons_listed_are_those_the_code_can_give() -> None:
    statuses, reasons = (t for t in tables_of("feeds.md") if t.heading == "How to read a refusal")
    listed = {code(row[0])[0] for row in reasons.rows}
    assert listed == reasons_in_code()
    assert {code(row[1])[0] for row in reasons.rows} == {code(row[0])[0] for row in statuses.rows}


@pytest.fixture(scope="module")
def refusals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of two nights of a small world: every reason for a refusal, every price shown, every rounding."""
    folder = tmp_path_factory.mktemp("refusals")
    first, second = worlds()
    for files, as_of in ((first, "2024-02-01"), (second, "2024-03-01")):
        write(folder / "input", files)
        policies = {"as_of": as_of, "correction_window": 0}
        run_night(Settings.model_validate({"input": folder / "input", "output": folder / "output"} | policies))
    return folder / "output"


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


CARD = """
rate_card: {name}
version: 1
effective_from: 2023-01-01
currency: USD
cycle: {{every: 1 month, anchor: account_created}}
rounding: {rounding}
spending_limit: {{default: "100.00"}}
plans:
"""
REFUSALS_PLANS = """
  basic:
    messages: {kind: usage, meter: messages, aggregation: sum, price: {per_unit: "1"}}
    calls: {kind: usage, meter: calls, aggregation: unique, price: {per_unit: "1"}}
    carts: {kind: peak, category: Standard, price: {per_unit: "1"}}
  pro:
    faxes: {kind: usage, meter: faxes, aggregation: sum, price: {per_unit: "1"}}
"""
MODES = ("half_up", "half_even", "down", "up")


def card(name: str, plans: str, rounding: str = "half_up") -> str:
    return CARD.format(name=name, rounding=rounding) + plans


def plan_with(prices: list[str]) -> str:
    """A plan that prices meter m0 by the first of these prices, m1 by the next, and so on."""
    charges = (
        f"    m{n}: {{kind: usage, meter: m{n}, aggregation: sum, price: {price}}}" for n, price in enumerate(prices)
    )
    return "\n".join(("  basic:", *charges))


def worlds() -> tuple[dict[str, str], dict[str, str]]:
    """The files of a first and of a second night."""
    prices = table_under("rate-cards.md", "Prices, worked").rows
    sizes = table_under("rules.md", "Rounding").columns[1:]
    usage = [f"sub-forms,e{n},m{n},{row[1]},2024-01-05," for n, row in enumerate(prices)]
    for mode in MODES:
        usage += [f"sub-{mode},e{n},m{n},{int(Decimal(s) * 1000)},2024-01-05," for n, s in enumerate(sizes)]
    started = [f"sub-{name},2024-01-01,acme,{name},basic,started" for name in ("refusals", "forms", *MODES)]
    snapshot = [f"2024-01-10,sub-refusals,c{n},Standard,active" for n in range(3)]
    first = {
        "rate_cards/forms.yaml": card("forms", plan_with([code(row[0])[0] for row in prices])),
        "rate_cards/refusals.yaml": card("refusals", REFUSALS_PLANS),
        **{f"rate_cards/{m}.yaml": card(m, plan_with(['{per_unit: "0.001"}'] * len(sizes)), m) for m in MODES},
        "accounts/a.csv": "account_id,updated_at,created_at,time_zone\nacme,,2024-01-01,\n",
        "subscriptions/s.csv": lines_of(
            "subscription_id,effective_at,account_id,rate_card,plan,event",
            *started,
            "sub-2,2024-01-01,nobody,forms,basic,started",
            "sub-3,2024-01-01,acme,no-card,basic,started",
            "sub-4,2024-01-01,acme,forms,gold,started",
        ),
        "usage/u.csv": lines_of("subscription_id,event_id,meter,quantity,occurred_at,value", *usage) + REFUSED_USAGE,
        "cart_events/c.csv": lines_of(
            "subscription_id,cart_id,occurred_at,category,state", "sub-refusals,c1,2024-01-05,Exotic,active"
        ),
        "cart_snapshots/c.csv": lines_of(
            "snapshot_at,subscription_id,cart_id,category,state",
            *snapshot,
            "2024-01-11,sub-refusals,c1,Standard,active",
        ),
        "spending_limits/l.csv": lines_of("subscription_id,agreed_at,limit_amount", "sub-refusals,2024-01-05,50.00"),
    }
    second = {
        "accounts/b.csv": lines_of(
            "account_id,updated_at,created_at,time_zone", "acme,2024-02-05,2024-01-01,Asia/Tokyo"
        ),
        "usage/late.csv": lines_of(
            "subscription_id,event_id,meter,quantity,occurred_at", "sub-refusals,r11,messages,1,2024-01-05"
        ),
    }
    return first, second


def lines_of(*lines: str) -> str:
    return "".join(f"{line}\n" for line in lines)


REFUSED_USAGE = """\
sub-refusals,r1,,1,2024-01-05,
sub-refusals,r2,messages,"1,5",2024-01-05,
sub-refusals,r3,messages,-3,2024-01-05,
sub-refusals,r4,messages,1,2024-01-05,
sub-refusals,r4,messages,2,2024-01-05,
sub-nobody,r5,messages,1,2024-01-05,
sub-refusals,r6,telegrams,1,2024-01-05,
sub-refusals,r7,messages,1,2023-12-05,
sub-refusals,r8,calls,1,2024-01-05,
sub-refusals,r9,faxes,1,2024-01-05,
"""


def query(output: Path, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(output / "billing.duckdb"), read_only=True) as connection:
        return connection.sql(sql).fetchall()


def test_details_shown_are_what_a_run_says(refusals: Path) -> None:
    _, reasons = (t for t in tables_of("feeds.md") if t.heading == "How to read a refusal")
    (sql,) = blocks_of("feeds.md", "sql")
    said = {(reason, status, detail) for _, _, status, reason, detail, _ in query(refusals, sql)}
    shown = [(code(row[0])[0], code(row[1])[0], row[2]) for row in reasons.rows]
    assert [row for row in shown if row not in said] == []
    assert {row[:2] for row in shown} == {row[:2] for row in said}


def test_reasons_for_which_an_invoice_is_held_are_those_the_code_can_give() -> None:
    """And every reason has the detail shown."""
    _, shown = (t for t in tables_of("tables.md") if t.heading == "held_invoices")
    judged, published = (
        sqlglot.parse_one(stage.sql, read="duckdb")
        for stage in all_stages()
        if stage.name in ("invoices_decided", "held_invoices")
    )
    assert {code(row[0])[0] for row in shown.rows} == {literal.this for literal in answers(said_of(judged, "reason"))}
    details = said_of(published, "detail").args["ifs"]
    assert [(code(row[0])[0], row[1]) for row in shown.rows] == [
        (branch.this.this, branch.args["true"].this) for branch in details
    ]


def said_of(statement: exp.Expr, column: str) -> Any:
    """The expression that a stage calls by the column's name."""
    (alias,) = (alias for alias in statement.find_all(exp.Alias) if alias.alias == column)
    return alias.this


def test_files_that_stop_a_run_are_named_as_shown(tmp_path: Path) -> None:
    usage = "subscription_id,event_id,meter,quantity,occurred_at\n"
    write(
        tmp_path,
        {
            "accounts/a.csv": "account_id,created_at\n",
            "subscriptions/s.csv": "subscription_id,effective_at,account_id,rate_card,plan,event\n",
            "cart_events/cut.csv": "subscription_id,cart_id,occurred_at,category,state\ns,c,2024-01-01,Standard,act",
            "cart_events/no-state.csv": "subscription_id,cart_id,occurred_at,category\n",
            "usage/empty.csv": "",
            "usage/twice.csv": usage.replace("event_id", "event_id,meter"),
        },
    )
    (tmp_path / "usage/cut.csv.gz").write_bytes(gzip.compress(usage.encode())[:-6])
    with pytest.raises(BadInput) as told:
        check(files_in(tmp_path), allow_missing_final_newline=False)
    (shown,) = (block for block in blocks_of("feeds.md", "text") if "cut.csv" in block)
    assert "\n".join(sorted(told.value.faults)) == shown.rstrip()


def test_bounds_on_a_file_are_those_of_the_code() -> None:
    (bounds,) = (t for t in tables_of("feeds.md") if t.columns[0] == "more than")
    assert [row[0] for row in bounds.rows] == [
        f"{csv_lines.LINE_BYTES_MAX >> 20} MB in one line of CSV; from 2 MB on the line alone is refused",
        f"{csv_lines.COLUMNS_MAX:,} columns in the header of a CSV file",
        f"{csv_lines.BLANK_LINES_MAX:,} blank lines in a CSV file",
        f"about {csv_lines.REPORTS_BYTES_MAX // csv_lines.REPORT_BYTES // 100_000:,}00,000 fields too many or too few "
        "in the lines of a CSV file; fewer where lines are long",
        f"{input_files.UNPACKED_TIMES_MAX} times the size of a compressed file, unpacked, and "
        f"{input_files.UNPACKED_ALWAYS_ALLOWED >> 20} MB",
    ]


def test_links_and_changing_files_stop_a_run_as_shown(tmp_path: Path) -> None:
    usage = write_folder(tmp_path / "input", ONE_CUSTOMER) / "usage"
    usage.mkdir()
    (tmp_path / "april.csv").touch()
    (usage / "april.csv").symlink_to(tmp_path / "april.csv")
    with pytest.raises(BadInput) as linked:
        files_in(tmp_path / "input")
    (usage / "april.csv").unlink()
    (usage / "april.csv").write_text("subscription_id\n", encoding="utf-8")
    (file,) = [file for file in files_in(tmp_path / "input") if file.feed == "usage"]
    file.path.write_text("subscription_id,event_id\n", encoding="utf-8")
    with pytest.raises(BadInput) as changed:
        refuse_if_changed(file)
    (shown,) = (block for block in blocks_of("feeds.md", "text") if "april.csv" in block)
    assert [*linked.value.faults, *changed.value.faults] == shown.splitlines()


# What is held, approved, damaged


@pytest.fixture
def held(tmp_path: Path) -> Path:
    """A1's second bill is ten times its first; of four carts that a snapshot listed the next one lists one."""
    bill(tmp_path, date(2024, 2, 10), ONE_CUSTOMER, max_change=3)
    carts = csv_text(CART_EVENTS, *(f"S1,x{number},2024-02-12,Standard,active" for number in range(9)))
    listed = [f"2024-03-12T02:00Z,S1,c{number},Standard,active" for number in range(4)]
    snapshots = csv_text(CART_SNAPSHOTS, *listed, "2024-03-13T02:00Z,S1,c1,Standard,active")
    bill(tmp_path, date(2024, 3, 14), {"cart_events/2.csv": carts, "cart_snapshots/1.csv": snapshots}, max_change=3)
    (tmp_path / "output").rename(tmp_path / "billing")
    return tmp_path


def said_by(command: str) -> list[str]:
    told = CliRunner().invoke(app, command.split())
    return told.output.splitlines()


def test_what_is_held_is_listed_and_approved_as_shown(held: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(held)
    (transcript,) = (block for block in blocks_of("every-night.md", "console") if "approve" in block)
    for part in transcript.split("$ usage-rating ")[1:]:
        command, *shown = part.splitlines()
        assert said_by(command) == shown
    (held / "billing").rename(held / "output")
    bill(held, date(2024, 3, 15), max_change=3)
    (held / "output").rename(held / "billing")
    assert said_by("approve --output billing") == ["Nothing waits for approval."]


def test_damage_is_told_as_shown(held: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(held)
    (held / "billing/current/invoices/000001.parquet").unlink()
    (shown,) = (block for block in blocks_of("every-night.md", "text") if "is missing" in block)
    assert said_by("doctor --output billing") == shown.splitlines()


def test_the_layout_shown_is_that_of_an_output_folder(held: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a run and an approval leave is named in it; the tables are named once, as a kind."""
    monkeypatch.chdir(held)
    (invoice_id, *_) = said_by("approve --output billing")[0].partition(":")
    said_by(f"approve --output billing {invoice_id}")
    (layout,) = (block for block in blocks_of("every-night.md", "text") if "approvals/" in block)
    named = set(re.findall(r"[\w.]+", layout)) | set(TABLES)
    folder = held / "billing"
    left = {path.name for path in (*folder.iterdir(), *(folder / "current").iterdir())}
    assert left - named == set()
    assert {path.name for path in (folder / "manifests").iterdir()} == {"000001.json", "000002.json"}


def test_the_bound_on_a_bill_is_the_one_described(tmp_path: Path) -> None:
    """The highest of the last three of the account and card: 120, 40, 40, 40, then twice 40 goes out, then 200 waits.

    What A1 pays on another card does not lift its bound, and A2 has bills of 0.
    """
    carts = ["S1,a,2024-01-11,Standard,active", "S1,b,2024-01-11,Standard,active", "S1,b,2024-02-09,Standard,deleted"]
    carts += ["S1,c,2024-01-11,Standard,active", "S1,c,2024-02-09,Standard,deleted"]
    carts += [f"S1,d{number},2024-06-12,Standard,active" for number in range(3)]
    carts += ["S1,e,2024-05-12,Standard,active", "S2,a,2024-06-12,Standard,active", "S3,a,2024-01-11,Standard,active"]
    dear = CARD_OF_CARTS.replace("carts\n", "dear\n", 1).replace("40.00", "400.00")
    started = ["S2,2024-01-10,A2,carts,basic,started", "S3,2024-01-10,A1,dear,basic,started"]
    files = ONE_CUSTOMER | {
        "rate_cards/dear.v1.yaml": dear,
        "accounts/2.csv": csv_text(ACCOUNTS, "A2,2024-01-10,UTC"),
        "subscriptions/2.csv": csv_text(SUBSCRIPTIONS, *started),
        "cart_events/1.csv": csv_text(CART_EVENTS, *carts),
    }
    for month in range(2, 8):
        bill(tmp_path, date(2024, month, 10), files, max_change=2)
    issued = "select total::integer from invoices where subscription_id = 'S1' order by cycle_start"
    assert rows(tmp_path, issued) == [(120,), (40,), (40,), (40,), (80,)]
    waiting = "select subscription_id, total::integer, reason from held_invoices order by all"
    assert rows(tmp_path, waiting) == [("S1", 200, "max_change"), ("S2", 40, "max_change")]
    bill(tmp_path, date(2024, 7, 11), max_change=Decimal("2.5"))
    assert rows(tmp_path, waiting) == [("S2", 40, "max_change")]


# Rate cards that are refused: what is changed in the complete card, in the order of the page


SLIPS = [
    ("      minimum: {", "      minmum: {"),
    ('price: {flat: "12.00"}', "price: {flat: 12.00}"),
    ("category: Counter, ", ""),
    ('{up_to: "5000"', '{up_to: "500"'),
    ("aggregation: unique", "aggregation: average"),
    ('cap: "150.00"', 'cap: "150.005"'),
    ("currency: USD", "currency: DOLLAR"),
    ("rounding: half_even", "rounding:"),
    ("version: 1", "version: 1\nversion: 2"),
    ("seat: {", "seat: &seat {"),
]


def refusal_of(cards: dict[str, str], folder: Path) -> str:
    write(folder / "rate_cards", cards)
    with pytest.raises(BadInput) as told:
        read_rate_cards(folder / "rate_cards")
    return str(told.value)


def test_refused_cards_are_told_as_shown(tmp_path: Path) -> None:
    (right,) = blocks_of("rate-cards.md", "yaml")
    assert [old for old, _ in SLIPS if right.count(old) != 1] == []
    told = [
        refusal_of({"parcel-desk.v1.yaml": right.replace(old, new)}, tmp_path / str(number))
        for number, (old, new) in enumerate(SLIPS)
    ]
    first, second, *_ = blocks_of("rate-cards.md", "text")
    assert (first + second).rstrip() == "\n".join(told)


def test_versions_that_do_not_fit_are_told_as_shown(tmp_path: Path) -> None:
    (right,) = blocks_of("rate-cards.md", "yaml")
    other = right.replace("version: 1", "version: 2").replace("currency: USD", "currency: EUR")
    told = refusal_of({"parcel-desk.v1.yaml": right, "parcel-desk.v2.yaml": other}, tmp_path)
    assert told == blocks_of("rate-cards.md", "text")[2].rstrip()


def test_a_changed_card_that_priced_an_invoice_is_told_as_shown(example: Path, tmp_path: Path) -> None:
    shutil.copytree(example / "input", tmp_path / "input")
    shutil.copytree(example / "out", tmp_path / "out", symlinks=True)
    path = tmp_path / "input/rate_cards/carts.v1.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("40.00", "41.00"), encoding="utf-8")
    shutil.copy2(EXAMPLE / "rate_cards/orders.v1.yaml", tmp_path / "input/rate_cards/orders.v2.yaml")
    later = tmp_path / "input/rate_cards/orders.v2.yaml"
    later.write_text(
        later.read_text(encoding="utf-8").replace("version: 1", "version: 2").replace("2024-01-01", "2024-05-01"),
        encoding="utf-8",
    )
    with Night(Settings.model_validate({"input": tmp_path / "input", "output": tmp_path / "out"})) as night:
        night.ingest()
        with pytest.raises(BadInput) as told:
            night.rate()
    assert re.sub(r"\b[0-9a-f]{12}\b", "…", str(told.value)) == blocks_of("rate-cards.md", "text")[3].rstrip()


# Figures

TIMES, DIVIDED_BY, MINUS, AND_SO_ON = (
    "\N{MULTIPLICATION SIGN}",
    "\N{DIVISION SIGN}",
    "\N{MINUS SIGN}",
    "\N{HORIZONTAL ELLIPSIS}",
)
EQUATION = re.compile(rf"([\d.]+(?: [+{MINUS}{TIMES}{DIVIDED_BY}] [\d.]+)+) = (-?[\d.]+\d)({AND_SO_ON}?)")
SIGNS = str.maketrans({TIMES: "*", DIVIDED_BY: "/", MINUS: "-"})
OPERATIONS: dict[type, Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def worked_out(text: str) -> Fraction:
    """What an arithmetic expression of a page comes to, exactly."""

    def value(node: ast.expr) -> Fraction:
        if isinstance(node, ast.BinOp):
            return OPERATIONS[type(node.op)](value(node.left), value(node.right))
        assert isinstance(node, ast.Constant), text
        return Fraction(str(node.value))

    return value(ast.parse(text.translate(SIGNS), mode="eval").body)


def in_cents(value: Fraction) -> Decimal:
    exact = Decimal(value.numerator) / Decimal(value.denominator)
    return exact.quantize(Decimal("0.01"), rounding=ROUND_HALF_UP)


def test_equations_in_prose_hold() -> None:
    found = EQUATION.findall(PAGES["rules.md"].replace("\n", " "))
    assert len(found) >= 3
    for left, right, is_cut in found:
        off = worked_out(left) - Fraction(right)
        assert 0 <= off < Fraction(1, 10 ** len(right.partition(".")[2])) if is_cut else off == 0, left


def test_prices_worked_are_what_a_run_bills(refusals: Path) -> None:
    lines = query(
        refusals,
        "select charge, quantity, amount from invoice_lines join invoices using (invoice_id) "
        "where rate_card = 'forms' and invoice_lines.kind = 'usage'",
    )
    shown = table_under("rate-cards.md", "Prices, worked").rows
    assert sorted(lines) == sorted((f"m{n}", Decimal(row[1]), Decimal(row[3])) for n, row in enumerate(shown))
    assert [in_cents(worked_out(row[2])) for row in shown] == [Decimal(row[3]) for row in shown]
    assert {code(row[0])[0].partition(":")[0].strip("{") for row in shown} == set(rate_cards.Price.model_fields)


def test_roundings_are_what_a_run_bills(refusals: Path) -> None:
    sql = (
        "select rate_card, charge, amount from invoice_lines join invoices using (invoice_id) "
        f"where rate_card in {MODES}"
    )
    shown = table_under("rules.md", "Rounding").rows
    assert sorted(query(refusals, sql)) == sorted(
        (code(row[0])[0], f"m{n}", Decimal(cell)) for row in shown for n, cell in enumerate(row[1:])
    )


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example, billed on three nights as rules.md says, in `out`."""
    folder = tmp_path_factory.mktemp("example")
    (folder / "docs").symlink_to(DOCS)
    late_files = [file for file in NIGHTS.values() if file]
    shutil.copytree(EXAMPLE, folder / "input")
    for file in late_files:
        (folder / "input" / file).unlink()
    for as_of, file in NIGHTS.items():
        if file:
            shutil.copy2(EXAMPLE / file, folder / "input" / file)
        run_night(Settings.model_validate({"input": folder / "input", "output": folder / "out", "as_of": as_of}))
    return folder


def test_the_nights_of_the_example_are_those_told() -> None:
    told = PAGES["rules.md"].partition("## ")[0]
    assert re.findall(r"\(example/(\S+\.csv)\)", told) == [file for file in NIGHTS.values() if file]
    days = [date.fromisoformat(as_of) for as_of in NIGHTS]
    assert re.findall(r"up to (\d+ \w+)", told) == [f"{day.day} {day:%B}" for day in days]


def invoices_shown() -> list[tuple[re.Match[str], Shown]]:
    told = ((re.search(r"`(\S+)`, `(\w+)` invoice for (\S+) to (\S+):$", t.intro), t) for t in tables_of("rules.md"))
    return [(match, table) for match, table in told if match]


@pytest.mark.parametrize(("about", "shown"), invoices_shown(), ids=lambda part: getattr(part, "heading", None))
def test_worked_invoices_are_what_a_run_issues(about: re.Match[str], shown: Shown, example: Path) -> None:
    assert shown.columns == ("line", "quantity", "unit price", "how", "amount")
    subscription_id, kind, cycle_start, cycle_end = about.groups()
    lines = query(
        example / "out",
        "select format('{} `{}` ({})', l.kind, charge, plan), quantity, unit_price, amount, total "
        "from invoices i join invoice_lines l using (invoice_id) "
        f"where subscription_id = '{subscription_id}' and i.kind = '{kind}' "
        f"and cycle_start = '{cycle_start}' and cycle_end = '{cycle_end}' order by line_number",
    )
    *rows, total = shown.rows
    assert [line[:4] for line in lines] == [
        (line, Decimal(quantity), Decimal(price) if price else None, Decimal(amount))
        for line, quantity, price, _, amount in rows
    ]
    assert {line[4] for line in lines} == {Decimal(total[4].strip("*"))}
    assert [in_cents(worked_out(how)) for *_, how, _ in rows] == [Decimal(row[4]) for row in rows]


def test_every_rule_has_a_worked_invoice() -> None:
    headings = set(re.findall(r"^## (.*)", PAGES["rules.md"], re.MULTILINE))
    assert headings - {table.heading for _, table in invoices_shown()} == {"One-off", "Prepaid credit", "Rounding"}


def rows_shown() -> list[tuple[str, Shown]]:
    told = ((re.search(r"\bin `(\w+)`:$", table.intro, re.IGNORECASE), table) for table in tables_of("rules.md"))
    return [(match[1], table) for match, table in told if match]


@pytest.mark.parametrize(("name", "shown"), rows_shown(), ids=lambda part: getattr(part, "heading", part))
def test_rows_shown_are_published(name: str, shown: Shown, example: Path) -> None:
    with duckdb.connect(str(example / "out" / "billing.duckdb"), read_only=True) as connection:
        connection.execute("set TimeZone = 'UTC'")
        published: pa.Table = connection.table(name).to_arrow_table()
    expected = Expectation(name, MarkdownTable(shown.columns, shown.rows), among_others=True)
    assert differences(expected, published) == []


def test_tables_with_published_rows_were_found() -> None:
    assert [name for name, _ in rows_shown()] == [
        "invoices",
        "alerts",
        "credit_ledger",
        "alerts",
        "invoices",
        "usage_history",
    ]


def test_evidence_has_the_keys_listed(example: Path) -> None:
    by_kind, of_corrections = (table for table in tables_of("tables.md") if table.heading == "Evidence")
    listed = {code(row[0])[0]: code(row[1]) for row in by_kind.rows}
    of_correction = [key for row in of_corrections.rows for key in code(row[0])]
    evidence = query(
        example / "out",
        "select distinct i.kind = 'correction', l.kind, json_keys(evidence) "
        "from invoices i join invoice_lines l using (invoice_id)",
    )
    assert {kind: keys for is_correction, kind, keys in evidence if not is_correction} == listed
    corrected = {kind: keys for is_correction, kind, keys in evidence if is_correction}
    assert corrected == dict.fromkeys(("peak", "usage", "spending_limit"), of_correction)
    in_code = {
        key
        for stage in ("730_lines.sql", "750_rated_lines.sql", "800_invoice_lines.sql")
        for key in re.findall(r"(\w+)\"? := ", (SQL_FOLDER / stage).read_text(encoding="utf-8"))
    }
    assert in_code == {key for keys in (*listed.values(), of_correction) for key in keys}


def test_evidence_of_a_correction_says_what_is_shown(example: Path) -> None:
    """Its figures before and after, and the file and row that made the difference."""
    evidence = query(
        example / "out",
        "select subscription_id, l.kind, evidence from invoices i join invoice_lines l using (invoice_id) "
        "where i.kind = 'correction' order by all",
    )
    keys = ("quantity_before", "quantity_after", "amount_before", "amount_after", "row_count", "first_rows")
    assert [(*about, *(json.loads(text)[key] for key in keys)) for *about, text in evidence] == [
        (
            *("sub-harbor", "spending_limit", "1.000000", "1.000000", "-20.0000", "-35.0000"),
            *("1", "usage/2024-06-07.csv:1"),
        ),
        ("sub-harbor", "usage", "280.000000", "310.000000", "140.0000", "155.0000", "1", "usage/2024-06-07.csv:1"),
        ("sub-oak", "peak", "1.000000", "2.000000", "40.0000", "80.0000", "1", "cart_events/2024-06-06.csv:1"),
    ]


# Commands, transcripts and links


@pytest.mark.parametrize("page", ["tables.md"])
def test_queries_run(page: str, example: Path) -> None:
    for sql in blocks_of(page, "sql"):
        assert query(example / "out", sql), sql


def test_the_transcript_prints_what_is_shown(example: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(example)
    (transcript,) = blocks_of("tables.md", "python")
    test = doctest.DocTestParser().get_doctest(transcript, {}, "tables", "tables.md", 0)
    results = doctest.DocTestRunner().run(test)
    assert (results.attempted, results.failed) == (4, 0)


COMMANDS = ("run", "preview", "near", "approve", "doctor", "verify", "explain", "trace", "views", "export")


def commands() -> list[str]:
    text = "\n".join(block for page in PAGES for block in blocks_of(page, r"\w+"))
    prose = "\n".join(span for page in PAGES.values() for span in re.findall(r"`(usage-rating [^`]+)`", page))
    return re.findall(r"usage-rating (.*)", text.replace("\\\n", " ") + "\n" + prose)


@pytest.mark.parametrize("command", commands())
def test_commands_and_their_options_exist(command: str) -> None:
    name, *words = command.split()
    told = CliRunner().invoke(app, [name, "--help"])
    assert told.exit_code == 0, told.output
    assert [word for word in words if word.startswith("--") and word not in told.output] == []


def test_options_named_exist() -> None:
    helps = "".join(CliRunner().invoke(app, [name, "--help"]).output for name in COMMANDS)
    text = "\n".join(text for page, text in PAGES.items() if page != "every-night.md")
    assert [option for option in re.findall(r"`(--[a-z-]+)", text) if option not in helps] == []


def test_the_preview_prints_what_is_shown(example: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(example)
    command, _, shown = blocks_of("tables.md", "console")[0].partition("\n")
    told = CliRunner().invoke(app, command.split()[2:], catch_exceptions=False)
    assert [line.rstrip() for line in told.output.splitlines()] == shown.splitlines()
    (export,) = (c for c in commands() if c.startswith("export"))
    assert CliRunner().invoke(app, export.split(), catch_exceptions=False).output.splitlines() == [
        f"wrote may/{name}" for name in re.findall(r"`(\w+\.csv)`", PAGES["tables.md"])
    ]


def test_links_lead_somewhere() -> None:
    for page, text in PAGES.items():
        for target, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", text):
            path = DOCS / target if target else DOCS / page
            assert path.exists(), f"{page}: {target}"
            if anchor:
                headings = re.findall(r"^#+ (.*)", path.read_text(encoding="utf-8"), re.MULTILINE)
                assert anchor in [heading.lower().replace(" ", "-") for heading in headings], f"{page}: #{anchor}"


def test_the_index_names_every_page() -> None:
    named = re.findall(r"^- \[([\w.-]+\.md)\]", PAGES["README.md"], re.MULTILINE)
    assert sorted([*named, "README.md"]) == sorted(PAGES)
