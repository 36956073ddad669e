"""`explain --svg`: what is drawn is read back from the file, and held against the rows and the published lines."""

import re
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from xml.etree import ElementTree as ET

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from tests.folders import CART_EVENTS, ONE_CUSTOMER, SUBSCRIPTIONS, bill, bill_example, csv_text
from usage_rating.cli import app

ROOT = Path(__file__).parents[1]
SVG = "{http://www.w3.org/2000/svg}"
NEAR = 0.002  # of the cycle, or of the least thing shown: the file has six digits


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example of the docs, billed on its three nights."""
    folder = tmp_path_factory.mktemp("example")
    bill_example(folder / "input", folder / "output")
    return folder


@dataclass(frozen=True)
class Drawn:
    """One panel: each line's points, across as a part of the cycle, up in units of the upright axis."""

    lines: dict[str, list[tuple[float, float]]]


def draw(folder: Path, *arguments: str, to: Path) -> str:
    """Runs the command, and gives what it printed."""
    places = ["--input", str(folder / "input"), "--output", str(folder / "output")]
    ran = CliRunner().invoke(app, ["explain", *arguments, *places, "--svg", str(to)])
    assert ran.exit_code == 0, ran.output
    return ran.output


def tree_of(file: Path) -> ET.Element:
    return ET.fromstring(file.read_text("utf-8"))  # noqa: S314  (our own)


def read(file: Path) -> Drawn:
    """The first panel, by the marks of its own axes."""
    panel = next(each for each in tree_of(file).iter(f"{SVG}g") if each.get("id") == "panel-1")
    frame = points_of(next(each for each in panel.iter(f"{SVG}path")))
    left, right = frame[0][0], frame[1][0]
    marks = []
    for each in panel.iter(f"{SVG}g"):
        if re.fullmatch(r"ytick_\d+", each.get("id", "")):
            text = next(each.iter(f"{SVG}text"))
            line = next(path for path in each.iter(f"{SVG}path") if path.get("clip-path"))
            marks.append((points_of(line)[0][1], float(str(text.text).replace(",", ""))))
    (low, least), (high, most) = marks[0], marks[-1]
    lines = {}
    for each in panel.iter(f"{SVG}g"):
        name = each.get("id", "")
        if re.fullmatch(r"(carts|before|peak|charged|limit)-1", name):
            lines[name.removesuffix("-1")] = points_of(next(each.iter(f"{SVG}path")))
        elif name == "mark-1":
            use = next(each.iter(f"{SVG}use"))
            lines["mark"] = [(float(use.attrib["x"]), float(use.attrib["y"]))]
    return Drawn(
        {
            name: [((x - left) / (right - left), least + (y - low) / (high - low) * (most - least)) for x, y in points]
            for name, points in lines.items()
        }
    )


def points_of(path: ET.Element) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"[ML] (-?[\d.]+) (-?[\d.]+)", path.attrib["d"])]


def part(at: str, of: tuple[str, str]) -> float:
    """Where an instant lies within a cycle."""
    when, since, until = (datetime.fromisoformat(each).replace(tzinfo=UTC) for each in (at, *of))
    return (when - since) / (until - since)


def test_carts_of_a_correction_are_drawn_as_they_were_on(example: Path, tmp_path: Path) -> None:
    """sub-oak had one cart all through the cycle, and spare-cart from 10 March, 10:00 UTC, on; New York's midnights."""
    draw(example, "carts/12", to=tmp_path / "oak.svg")
    lines = read(tmp_path / "oak.svg").lines
    on = part("2024-03-10T10:00", ("2024-03-05T05:00", "2024-04-05T04:00"))
    assert steps(lines["carts"]) == pytest.approx([0, 1, on, 1, on, 2, 1, 2], abs=NEAR)
    assert steps(lines["before"]) == pytest.approx([0, 1, 1, 1], abs=NEAR)
    assert steps(lines["peak"]) == pytest.approx([on, 2, 1, 2], abs=NEAR)
    assert lines["mark"] == [pytest.approx((on, 2), abs=NEAR)]


def steps(points: list[tuple[float, float]]) -> list[float]:
    """The points, one coordinate after the other, without those that lie on one another."""
    kept = [point for number, point in enumerate(points) if not number or point != points[number - 1]]
    return [coordinate for point in kept for coordinate in point]


def test_the_running_charge_ends_where_the_lines_do_and_stays_under_its_limit(example: Path, tmp_path: Path) -> None:
    draw(example, "apps/7", to=tmp_path / "harbor.svg")
    lines = read(tmp_path / "harbor.svg").lines
    invoices = pq.read_table(example / "output" / "invoices").to_pylist()
    own = {r["invoice_id"] for r in invoices if r["subscription_id"] == "sub-harbor" and r["kind"] != "opening"}
    own = {r["invoice_id"] for r in invoices if r["invoice_id"] in own and str(r["cycle_start"]) == "2024-04-05"}
    billed = sum(
        (
            line["amount"]
            for line in pq.read_table(example / "output" / "invoice_lines").to_pylist()
            if line["invoice_id"] in own and line["kind"] in ("usage", "minimum", "cap", "spending_limit")
        ),
        Decimal(0),
    )
    unit = 150 * NEAR
    assert lines["charged"][-1] == pytest.approx((1, float(billed)), abs=unit)
    assert [y for _, y in lines["charged"]] == sorted(y for _, y in lines["charged"])
    limits = lines["limit"]
    assert [round(y) for _, y in limits] == [100, 100, 150, 150]
    for x, y in lines["charged"]:
        in_force = max(limit for since, limit in limits if since <= x + NEAR)
        assert y <= in_force + unit
    assert lines["mark"][0][1] == pytest.approx(100, abs=unit)


LIMITED_CARD = """\
rate_card: apps
version: 1
effective_from: 2024-01-01
reason: Usage under a spending limit.
currency: USD
cycle: {every: 30 days, anchor: subscription_started}
spending_limit: {default: "LIMIT", alert_at: ["0.9", "1"]}
plans:
  basic:
    messages: {kind: usage, meter: messages, aggregation: sum, price: {per_unit: "0.50"}}
"""


@pytest.mark.parametrize(
    ("limit", "raises", "charged", "words"),
    [
        ("0.00", [], 0, ["limit 0.00", "crossed 12 Jan 00:00", "charged 0.00", "clipped 25.00", "due 25.00, above"]),
        ("1000000.00", [], 25, ["limit 1,000,000.00", "charged 25.00"]),
        ("1.00", ["2024-01-12T05:00,5.00", "2024-01-12T06:00,8.00"], 8, ["raised to 8.00", "due 25.00, above"]),
    ],
    ids=["a limit of nothing", "far below it", "raised twice within an hour"],
)
def test_limits_of_any_height(limit: str, raises: list[str], charged: int, words: list[str], tmp_path: Path) -> None:
    files = ONE_CUSTOMER | {
        "rate_cards/apps.v1.yaml": LIMITED_CARD.replace("LIMIT", limit),
        "subscriptions/1.csv": csv_text(SUBSCRIPTIONS, "S1,2024-01-10,A1,apps,basic,started"),
        "cart_events/1.csv": csv_text(CART_EVENTS),
        "usage/1.csv": csv_text(
            "event_id,subscription_id,occurred_at,meter,quantity",
            "u1,S1,2024-01-12,messages,30",
            "u2,S1,2024-01-20,messages,20",
        ),
        "spending_limits/1.csv": csv_text("subscription_id,agreed_at,limit_amount", *(f"S1,{one}" for one in raises)),
    }
    bill(tmp_path, date(2024, 2, 20), files)
    draw(tmp_path, "1", to=tmp_path / "limit.svg")
    assert read(tmp_path / "limit.svg").lines["charged"][-1] == pytest.approx((1, charged), abs=float(limit) * NEAR)
    told = {str(text.text) for text in tree_of(tmp_path / "limit.svg").iter(f"{SVG}text")}
    assert told.issuperset(words), told


def test_the_same_figures_give_the_same_bytes_and_replace_what_was_there(example: Path, tmp_path: Path) -> None:
    target = tmp_path / "one.svg"
    target.write_text("what was there", encoding="utf-8")
    printed = draw(example, "apps/7", to=target)
    assert "Total:" in printed
    places = ["--input", str(example / "input"), "--output", str(example / "output"), "--svg", str(tmp_path / "2.svg")]
    code = "import sys; from usage_rating.cli import app; app(sys.argv[1:])"
    subprocess.run([sys.executable, "-c", code, "explain", "apps/7", *places], check=True, capture_output=True)
    assert (tmp_path / "2.svg").read_bytes() == target.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2.svg", "one.svg"]


def test_the_pages_picture_is_what_the_command_draws(example: Path, tmp_path: Path) -> None:
    draw(example, "apps/7", to=tmp_path / "harbor.svg")
    assert (tmp_path / "harbor.svg").read_text("utf-8") == (ROOT / "docs" / "explain-harbor.svg").read_text("utf-8")


def test_hostile_names_are_drawn_as_they_are(tmp_path: Path) -> None:
    name = "S<script>&amp;$x^2$\u202e"
    files = ONE_CUSTOMER | {
        "subscriptions/1.csv": csv_text(
            "subscription_id,effective_at,account_id,rate_card,plan,event",
            f"{name},2024-01-10,A1,carts,basic,started",
        ),
        "cart_events/1.csv": csv_text(
            "subscription_id,cart_id,occurred_at,category,state", f"{name},c1,2024-01-11,Standard,active"
        ),
    }
    bill(tmp_path, date(2024, 2, 10), files)
    draw(tmp_path, "1", to=tmp_path / "hostile.svg")
    tree = tree_of(tmp_path / "hostile.svg")
    words = "".join(str(text.text) for text in tree.iter(f"{SVG}text"))
    assert "S<script>&amp;$x^2$" in words
    assert not list(tree.iter(f"{SVG}script"))
    assert "\u202e" not in (tmp_path / "hostile.svg").read_text("utf-8")


def test_where_there_is_nothing_to_draw_no_file_is_written(example: Path, tmp_path: Path) -> None:
    for invoice, file, says in (
        ("orders/1", tmp_path / "no.svg", "nothing to draw of orders/1"),
        ("apps/7", tmp_path / "missing" / "no.svg", "cannot be written"),
        ("apps/7", Path(), "is a directory"),
    ):
        places = ["--input", str(example / "input"), "--output", str(example / "output"), "--svg", str(file)]
        code = "from usage_rating.cli import main; main()"
        command = [sys.executable, "-c", code, "explain", invoice, *places]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ran.returncode == 2
        assert says in ran.stderr
    assert not list(tmp_path.iterdir())


def test_the_library_is_loaded_only_for_a_picture() -> None:
    code = (
        "import sys, usage_rating.cli, usage_rating.night, usage_rating.explanation.explaining; "
        "sys.exit('matplotlib' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
