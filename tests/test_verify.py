"""`usage-rating verify`: agrees with what was billed, and finds each planted fault by the figures alone."""

import ast
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import date
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from typer.testing import CliRunner

from tests.comparison import settings_for
from tests.folders import ACCOUNTS, SUBSCRIPTIONS, bill, bill_example, copied, csv_text
from tests.oracle import World
from tests.test_properties import drawing
from tests.test_properties_usage import EXAMPLES
from tests.worlds import scattered_worlds, write_world
from tests.worlds_usage import usage_worlds
from usage_rating.cli import app
from usage_rating.errors import BadInput
from usage_rating.night import run_night
from usage_rating.settings import Settings
from usage_rating.verification.verdict import Scope, Verdict, verify

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "src" / "usage_rating" / "verification").glob("*.py"))
MAY_IMPORT = {"pyarrow", "rich", "ruamel", "zstandard"}


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sample as `input`, billed into `output`."""
    folder = tmp_path_factory.mktemp("sample")
    shutil.copytree(ROOT / "data" / "sample", folder / "input", ignore=shutil.ignore_patterns("README.md"))
    run_night(Settings(input=folder / "input", output=folder / "output", as_of=date(2024, 5, 5), threads=1))
    return folder


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example of the docs, billed on its three nights: rows come late, invoices are corrected."""
    folder = tmp_path_factory.mktemp("example")
    bill_example(folder / "input", folder / "output")
    return folder


def verdict_of(folder: Path, **scope: Any) -> Verdict:
    return verify(folder / "input", folder / "output", Scope(**scope))


def found(folder: Path, **scope: Any) -> list[str]:
    return [str(finding) for finding in verdict_of(folder, **scope).findings]


# ---- what it may know


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_a_module_imports_nothing_of_what_bills(module: Path) -> None:
    names: list[str] = []
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import hides what it takes"
            names.append(str(node.module))
    for name in names:
        is_own = name.startswith("usage_rating.verification.") or name == "usage_rating.verification"
        root = name.split(".", maxsplit=1)[0]
        assert is_own or root in MAY_IMPORT | sys.stdlib_module_names, f"{module.name} imports {name}"
    text = module.read_text(encoding="utf-8")
    assert "importlib.import_module" not in text
    assert "float(" not in text


def test_nothing_of_what_bills_is_loaded() -> None:
    code = (
        "import sys, usage_rating.verification.report; "
        "print(*sorted(name for name in sys.modules if name.startswith(('usage_rating', 'duckdb', 'pandas'))))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "usage_rating.verification.bill" in loaded
    assert [name for name in loaded if not name.startswith("usage_rating.verification")] == ["usage_rating"]


# ---- what agrees


def test_the_sample_agrees(sample: Path) -> None:
    verdict = verdict_of(sample)
    assert verdict.findings == []
    assert (verdict.invoices, verdict.totals) == (85, {"INR": "13176.00", "USD": "3487.38"})
    assert verdict.others["credit_ledger"] > 0
    assert verdict.others["rejected_rows"] > 0


def test_nights_with_late_rows_corrections_credit_and_alerts_agree(example: Path) -> None:
    verdict = verdict_of(example)
    assert verdict.findings == []
    assert verdict.runs == 3
    assert verdict.others["alerts of limits"] == 2
    assert verdict.others["alerts of credit"] == 1
    kinds = [kind for _, kind in invoices(example)]
    assert kinds.count("correction") == 2
    assert verdict.invoices == len(kinds)


def test_one_run_one_invoice_and_a_sample_agree(example: Path) -> None:
    ids = invoices(example)
    corrections = [invoice_id for invoice_id, kind in ids if kind == "correction"]
    assert verdict_of(example, invoice=corrections[0]).invoices == 1
    assert found(example, invoice=corrections[0]) == []
    assert verdict_of(example, run=3).invoices == 1
    assert found(example, run=3) == []
    drawn = verdict_of(example, sample=3, seed=5)
    assert drawn.findings == []
    assert 0 < drawn.invoices < len(ids)


def invoices(folder: Path) -> list[tuple[str, str]]:
    table = pq.read_table(folder / "output" / "invoices")
    return list(zip(table["invoice_id"].to_pylist(), table["kind"].to_pylist(), strict=True))


def test_bills_that_a_bound_holds_agree_until_they_are_approved(tmp_path: Path) -> None:
    header = "subscription_id,cart_id,occurred_at,category,state"
    bill(tmp_path, date(2024, 3, 10), ONE_CART, max_change=Decimal(2))
    more = csv_text(header, *(f"S1,more-{number},2024-03-20,Standard,active" for number in range(9)))
    bill(tmp_path, date(2024, 4, 10), {"cart_events/2.csv": more}, max_change=Decimal(2))
    verdict = verdict_of(tmp_path)
    assert verdict.findings == []
    assert verdict.others["held_invoices"] == 1
    held = pq.read_table(tmp_path / "output" / "held_invoices")["invoice_id"].to_pylist()
    CliRunner().invoke(app, ["approve", "--output", str(tmp_path / "output"), held[0]])
    bill(tmp_path, date(2024, 4, 11), max_change=Decimal(2))
    verdict = verdict_of(tmp_path)
    assert verdict.findings == []
    assert (verdict.invoices, verdict.others["held_invoices"]) == (3, 0)


ONE_CART: dict[str, str | bytes] = {
    "rate_cards/carts.v1.yaml": (ROOT / "docs" / "example" / "rate_cards" / "carts.v1.yaml").read_bytes(),
    "accounts/1.csv": "account_id,created_at,time_zone\nA1,2024-01-10,UTC\n",
    "subscriptions/1.csv": (
        "subscription_id,effective_at,account_id,rate_card,plan,event\nS1,2024-01-10,A1,carts,merchant,started\n"
    ),
    "cart_events/1.csv": "subscription_id,cart_id,occurred_at,category,state\nS1,c1,2024-01-11,Standard,active\n",
}


def test_a_day_that_a_zone_skipped_has_no_fee(tmp_path: Path) -> None:
    """30 December 2011 in Apia: the day after has its fee in advance on its own invoice."""
    card = """\
rate_card: days
version: 1
effective_from: 2000-01-01
reason: A fee a day.
currency: USD
time_zone: Pacific/Apia
cycle: {every: 1 day, anchor: subscription_started}
grace_days: 0
payment_days: 0
rounding: half_up
settlement: invoice
plans:
  basic:
    fee: {kind: recurring, bill: advance, price: {flat: "5.00"}}
"""
    started = (
        "subscription_id,effective_at,account_id,rate_card,plan,event\nS1,2011-12-28T10:00Z,A1,days,basic,started\n"
    )
    files: dict[str, str | bytes] = {
        "rate_cards/days.v1.yaml": card,
        "accounts/1.csv": "account_id,created_at\nA1,2011-12-20\n",
        "subscriptions/1.csv": started,
    }
    bill(tmp_path, date(2012, 1, 2), files)
    verdict = verdict_of(tmp_path)
    assert verdict.findings == []
    assert (verdict.invoices, verdict.totals) == (5, {"USD": "25.00"})


FEES_CHANGE = """\
rate_card: fees
version: {version}
effective_from: {since}
reason: Later its second fee comes first.
currency: USD
cycle: {{every: 1 month, anchor: calendar}}
plans: {{basic: {{{fees}}}}}
"""
FEE = "{name}: {{kind: recurring, bill: advance, price: {{flat: '5.00'}}}}"


def test_a_fee_stands_where_the_version_of_its_own_cycle_has_it(tmp_path: Path) -> None:
    """January's invoice bears February's fees, in the order in which February's version names them."""
    first, second = (FEE.format(name=name) for name in ("fee", "fee_2"))
    files: dict[str, str | bytes] = {
        "rate_cards/1.yaml": FEES_CHANGE.format(version=1, since="2024-01-01", fees=f"{first}, {second}"),
        "rate_cards/2.yaml": FEES_CHANGE.format(version=2, since="2024-02-01", fees=f"{second}, {first}"),
        "accounts/1.csv": csv_text(ACCOUNTS, "A,2024-01-01,UTC"),
        "subscriptions/1.csv": csv_text(SUBSCRIPTIONS, "S,2024-01-01,A,fees,basic,started"),
    }
    bill(tmp_path, date(2024, 2, 1), files)
    lines = pq.read_table(tmp_path / "output" / "invoice_lines").to_pylist()
    by_invoice: dict[date, list[str]] = {}
    for line in sorted(lines, key=lambda line: line["line_number"]):
        by_invoice.setdefault(line["service_start"], []).append(line["charge"])
    assert by_invoice == {date(2024, 1, 1): ["fee", "fee_2"], date(2024, 2, 1): ["fee_2", "fee"]}
    assert found(tmp_path) == []


@drawing(EXAMPLES // 4)
@given(scattered_worlds(usage_worlds()))
def test_drawn_worlds_whose_rows_come_late_agree(drawn: tuple[World, list[date]]) -> None:
    world, runs = drawn
    with TemporaryDirectory() as name:
        folder = Path(name)
        with suppress(BadInput):
            for number, as_of in enumerate(runs):
                write_world(world.until(number), folder / "input")
                run_night(settings_for(folder, as_of, min_snapshot_share=world.min_snapshot_share))
        if (folder / "output" / "current").exists():
            assert found(folder) == []


# ---- planted faults


def resealed(folder: Path) -> Path:
    """Gives every manifest the hashes of the files as they are now, so that only figures can tell."""
    previous = ""
    night = (folder / "output" / "current").resolve()
    cards = {sha: path for path in (folder / "input" / "rate_cards").iterdir() if (sha := old_hash(path))}
    for path in sorted((night / "manifests").glob("*.json")):
        said = json.loads(path.read_text(encoding="utf-8"))
        del said["sha256"]
        said["files"] = {name: sha_of(night / name) or sha for name, sha in said["files"].items()}
        for record in said["inputs"]:
            record["sha256"] = sha_of(folder / "input" / record["name"]) or record["sha256"]
        said["rate_cards"] = {
            name: sha_of(cards[sha]) if sha in cards else sha for name, sha in said["rate_cards"].items()
        }
        said["previous"] = previous
        previous = hashlib.sha256(text_of(said).encode()).hexdigest()
        path.write_text(text_of(said | {"sha256": previous}), encoding="utf-8")
    return folder


def old_hash(path: Path) -> str:
    """The hash that a card had before it was swapped, noted beside it."""
    note = path.with_suffix(".was")
    return note.read_text(encoding="utf-8") if note.exists() else ""


def sha_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def text_of(said: dict[str, Any]) -> str:
    return json.dumps(said, indent=1, sort_keys=True) + "\n"


def rewrite(path: Path, change: Callable[[list[dict[str, Any]]], None]) -> None:
    """Changes rows of a Parquet file, its types as they were. Other nights keep theirs."""
    table = pq.read_table(path)
    rows = table.to_pylist()
    change(rows)
    path.unlink()
    pq.write_table(pa.Table.from_pylist(rows, table.schema), path)


def one_cent(folder: Path) -> str:
    """A cent more on a line and its invoice."""
    night = (folder / "output" / "current").resolve()
    line = pq.read_table(night / "invoice_lines" / "000001.parquet").to_pylist()[3]

    def on_line(rows: list[dict[str, Any]]) -> None:
        rows[3]["amount"] += Decimal("0.01")

    def on_total(rows: list[dict[str, Any]]) -> None:
        (row,) = (row for row in rows if row["invoice_id"] == line["invoice_id"])
        row["total"] += Decimal("0.01")

    rewrite(night / "invoice_lines" / "000001.parquet", on_line)
    rewrite(night / "invoices" / "000001.parquet", on_total)
    return str(line["invoice_id"])


def a_row_dropped(folder: Path) -> str:
    """A day's usage is no longer in its file."""
    path = folder / "input" / "usage" / "shoplazza" / "2024-03.csv"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join([lines[0], *lines[2:]]), encoding="utf-8")
    return invoice_of(folder, lines[1].split(",")[0])


def a_row_added(folder: Path) -> str:
    """A cart more."""
    path = folder / "input" / "cart_events" / "2024-02.csv"
    more = "sub-cedar,cart-99,2024-02-10T10:00:00Z,Standard,active,,\n"
    path.write_text(path.read_text(encoding="utf-8") + more, encoding="utf-8")
    return invoice_of(folder, "sub-cedar")


def a_swapped_card(folder: Path) -> str:
    """Another price for a cart."""
    path = folder / "input" / "rate_cards" / "extensiv.v1.yaml"
    path.with_suffix(".was").write_text(sha_of(path), encoding="utf-8")
    path.write_text(path.read_text(encoding="utf-8").replace('"40.00"', '"41.00"'), encoding="utf-8")
    return invoice_of(folder, "sub-cedar")


def a_lost_invoice(folder: Path) -> str:
    """An invoice and its lines are gone; the numbers after it close the gap."""
    night = (folder / "output" / "current").resolve()
    gone = invoice_of(folder, "sub-maple")

    def drop(rows: list[dict[str, Any]]) -> None:
        rows[:] = [row for row in rows if row["invoice_id"] != gone]

    rewrite(night / "invoice_lines" / "000001.parquet", drop)
    rewrite(night / "invoices" / "000001.parquet", drop)
    return "sub-maple"


def a_changed_balance(folder: Path) -> str:
    """A balance of the ledger."""

    def change(rows: list[dict[str, Any]]) -> None:
        rows[5]["balance"] += Decimal("0.01")

    rewrite((folder / "output" / "current").resolve() / "credit_ledger" / "000001.parquet", change)
    return "credit_ledger"


def invoice_of(folder: Path, subscription_id: str) -> str:
    """The invoice of a subscription for the cycle that began about 10 February, in which the faults lie."""
    rows = pq.read_table(folder / "output" / "invoices").to_pylist()
    own = [row for row in rows if row["subscription_id"] == subscription_id and row["kind"] == "cycle"]
    return str(min(own, key=lambda row: abs((row["cycle_start"] - date(2024, 2, 10)).days))["invoice_id"])


FAULTS = [one_cent, a_row_dropped, a_row_added, a_swapped_card, a_lost_invoice, a_changed_balance]


@pytest.mark.parametrize("plant", FAULTS)
def test_a_planted_fault_is_found_by_the_figures(sample: Path, tmp_path: Path, plant: Callable[[Path], str]) -> None:
    folder = copied(sample, tmp_path)
    named = plant(folder)
    findings = found(resealed(folder))
    assert any(named in finding for finding in findings), findings
    assert not any(finding.startswith("files") for finding in findings), findings


def test_a_fault_is_found_by_its_hash_too(sample: Path, tmp_path: Path) -> None:
    folder = copied(sample, tmp_path)
    one_cent(folder)
    a_row_added(folder)
    a_swapped_card(folder)
    said = "\n".join(found(folder))
    assert "invoice_lines/000001.parquet: is not as the run wrote it" in said
    assert "cart_events/2024-02.csv: has changed since run 000001 took it in" in said
    assert "extensiv v1: has changed since run 000001" in said


@pytest.mark.parametrize(
    "content", [b"", b"subscription_id\n", b"\xff\xfe\x00"], ids=["empty", "columns lost", "no text"]
)
def test_an_input_file_that_is_another_now_is_named(example: Path, tmp_path: Path, content: bytes) -> None:
    folder = copied(example, tmp_path)
    (folder / "input" / "usage" / "usage.csv").write_bytes(content)
    findings = found(folder)
    assert any("usage/usage.csv: has changed since run 000001" in finding for finding in findings)
    assert any(finding.startswith("invoice_lines") for finding in findings)


def test_a_broken_chain_is_found(example: Path, tmp_path: Path) -> None:
    folder = copied(example, tmp_path)
    ((folder / "output" / "current").resolve() / "manifests" / "000002.json").unlink()
    assert any("one is missing" in finding for finding in found(folder))


# ---- the command


def command(folder: Path, *arguments: str) -> Any:
    folders = ["--input", str(folder / "input"), "--output", str(folder / "output")]
    return CliRunner().invoke(app, ["verify", *folders, *arguments])


def test_the_command_says_that_all_agrees(sample: Path) -> None:
    done = command(sample)
    assert done.exit_code == 0
    assert "Everything agrees." in done.stdout
    told = json.loads(command(sample, "--json").stdout)
    assert (told["agrees"], told["invoices"]) == (True, 85)


def test_the_command_names_each_difference(sample: Path, tmp_path: Path) -> None:
    folder = copied(sample, tmp_path)
    invoice_id = one_cent(folder)
    done = command(resealed(folder))
    assert done.exit_code == 2
    assert f"invoices {invoice_id}" in done.stdout
    assert f"invoice_lines {invoice_id}" in done.stdout
    told = json.loads(command(folder, "--json").stdout)
    assert told["agrees"] is False
    assert {finding["invoice_id"] for finding in told["findings"]} == {invoice_id}


def test_the_page_shows_what_the_command_prints(example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "verify.md").read_text(encoding="utf-8")
    shutil.copytree(example / "input", tmp_path / "exports")
    shutil.copytree(example / "output", tmp_path / "billing", symlinks=True)
    monkeypatch.chdir(tmp_path)
    shown = page.partition("```console\n")[2].partition("```")[0]
    words, _, printed = shown.partition("\n")
    assert CliRunner().invoke(app, words.split()[2:]).stdout == printed
    usage = tmp_path / "exports" / "usage" / "usage.csv"
    usage.write_text(usage.read_text(encoding="utf-8").replace("messages,50", "messages,51"), encoding="utf-8")
    told = CliRunner().invoke(app, words.split()[2:]).stdout
    for line in page.partition("```text\n")[2].partition("```")[0].splitlines():
        assert f"  {line}\n" in told


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["--run", "7"], "there is no run 7"), (["--invoice", "in_none"], "there is no invoice in_none")],
)
def test_bad_use_is_told(sample: Path, arguments: list[str], says: str) -> None:
    done = command(sample, *arguments)
    assert done.exit_code == 2
    assert says in done.stderr


def test_a_folder_without_a_night_is_told(tmp_path: Path) -> None:
    (tmp_path / "input").mkdir()
    done = command(tmp_path)
    assert done.exit_code == 2
    assert "has no published night" in done.stderr
