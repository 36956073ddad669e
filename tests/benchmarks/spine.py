"""How long a big night takes: `python -m tests.benchmarks.spine [--feeds usage] [--accounts 20000] [--rows 1000000]`.

Makes as many cart events as snapshot rows, or usage under a spending limit that a twentieth of the cycles reach, from
a seed; runs `usage-rating run` over them as a process of its own, and prints its wall time, its peak memory and what
came out. It judges nothing: a machine's time is no test.
"""

import argparse
import resource
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

SEED = 2024
START = datetime(2024, 1, 1, tzinfo=UTC)
AS_OF = "2024-06-15"
MONTHS = 4
CARTS = 5
SNAPSHOTS = 10
ZONES = np.array(["America/New_York", "Europe/Berlin", "Asia/Kolkata", "UTC", "Australia/Lord_Howe"])
CATEGORIES = np.array(["Standard", "Premium", "EDI"])
STATES = np.array(["active", "disabled", "deleted"])
INSTANT = pa.timestamp("us", tz="UTC")
CARDS = {
    "carts": """\
rate_card: carts
version: 1
effective_from: 2023-01-01
reason: Made up for a benchmark.
currency: USD
time_zone: America/New_York
cycle: {every: 1 month, anchor: account_created}
grace_days: 0
payment_days: 14
rounding: half_up
settlement: invoice
plans:
  merchant:
    fee: {kind: recurring, bill: arrears, price: {flat: "99.00"}, on_cancel: drop}
    standard_carts: {kind: peak, category: Standard, price: {per_unit: "40.00"}}
    premium_carts:
      kind: peak
      category: Premium
      price: {graduated: [{up_to: "2", per_unit: "60.00"}, {per_unit: "50.00"}]}
    edi_carts: {kind: peak, category: EDI, price: {package: {size: "3", price: "250.00"}}}
""",
    "usage": """\
rate_card: usage
version: 1
effective_from: 2023-01-01
reason: Made up for a benchmark.
currency: USD
time_zone: UTC
cycle: {every: 30 days, anchor: subscription_started}
grace_days: 0
payment_days: 0
rounding: half_up
settlement: invoice
spending_limit: {default: "100.00", alert_at: ["0.9", "1"]}
plans:
  merchant:
    fee: {kind: recurring, bill: advance, price: {flat: "5.00"}}
    messages: {kind: usage, meter: messages, aggregation: sum, price: {per_unit: "0.01"}}
    calls:
      kind: usage
      meter: calls
      aggregation: sum
      price: {graduated: [{up_to: "20", per_unit: "0.05"}, {per_unit: "0.02"}]}
""",
}
AT_LIMIT = 0.05


def instants(offsets: np.ndarray) -> pa.Array:
    """Microseconds since the start, as instants."""
    return pa.array(offsets.astype("timedelta64[us]") + np.datetime64(START.replace(tzinfo=None), "us"), INSTANT)


def accounts(card: str, count: int, random: np.random.Generator) -> tuple[pa.Table, pa.Table]:
    """Accounts over five zones, created within four weeks, each with one subscription from its first instant."""
    ids = np.char.mod("A%06d", np.arange(count))
    created = instants(random.integers(0, 28 * 24, count) * 3_600_000_000)
    columns = {"account_id": pa.array(ids), "created_at": created, "time_zone": pa.array(ZONES[np.arange(count) % 5])}
    started = {"subscription_id": pa.array(subscriptions(np.arange(count))), "effective_at": created}
    same = {
        name: pa.repeat(name_of, count)
        for name, name_of in (("rate_card", card), ("plan", "merchant"), ("event", "started"))
    }
    return pa.table(columns), pa.table(started | {"account_id": columns["account_id"]} | same)


def subscriptions(numbers: np.ndarray) -> np.ndarray:
    """Their ids."""
    return np.char.mod("S%06d", numbers)


def cart_events(count: int, accounts_count: int, random: np.random.Generator) -> pa.Table:
    """Changes over four months, most of them of a few accounts."""
    return pa.table(
        {
            "subscription_id": subscriptions(random.zipf(1.3, count) % accounts_count),
            "cart_id": np.char.mod("c%d", random.integers(0, CARTS, count)),
            "occurred_at": instants(random.integers(31 * 86_400, MONTHS * 30 * 86_400, count) * 1_000_000),
            "category": CATEGORIES[random.integers(0, 3, count)],
            "state": STATES[random.integers(0, 3, count)],
        }
    )


def cart_snapshots(count: int, accounts_count: int, random: np.random.Generator) -> pa.Table:
    """Ten listings, each of the same size but not of the same carts."""
    size = min(count // SNAPSHOTS, accounts_count * CARTS)
    listings = []
    for number in range(SNAPSHOTS):
        carts = random.permutation(accounts_count * CARTS)[:size]
        at = int(timedelta(days=35 + 9 * number, hours=2).total_seconds()) * 1_000_000
        listings.append(
            pa.table(
                {
                    "snapshot_at": instants(np.full(size, at)),
                    "subscription_id": subscriptions(carts // CARTS),
                    "cart_id": np.char.mod("c%d", carts % CARTS),
                    "category": CATEGORIES[carts % 3],
                    "state": np.where(carts % 4 == 0, "disabled", "active"),
                }
            )
        )
    return pa.concat_tables(listings)


def usage(count: int, accounts_count: int, random: np.random.Generator) -> pa.Table:
    """Rows over four months, alike over all accounts; in a twentieth of the months a hundred times as much."""
    numbers = random.integers(0, accounts_count, count)
    seconds = random.integers(28 * 86_400, MONTHS * 30 * 86_400, count)
    is_heavy = random.random((accounts_count, MONTHS + 1)) < AT_LIMIT
    quantities = random.integers(1, 30, count) * np.where(is_heavy[numbers, seconds // (30 * 86_400)], 100, 1)
    return pa.table(
        {
            "subscription_id": subscriptions(numbers),
            "event_id": np.char.mod("e%07d", np.arange(count)),
            "meter": np.array(["messages", "calls"])[random.integers(0, 2, count)],
            "quantity": quantities,
            "occurred_at": instants(seconds * 1_000_000),
        }
    )


def make_input(folder: Path, feeds: str, rows: int, accounts_count: int, *, as_csv: bool) -> None:
    """Writes the feeds and the rate card; the same bytes for the same seed and sizes."""
    random = np.random.default_rng(SEED)
    account_rows, subscription_rows = accounts(feeds, accounts_count, random)
    tables = {"accounts": account_rows, "subscriptions": subscription_rows}
    if feeds == "carts":
        tables["cart_events"] = cart_events(rows, accounts_count, random)
        tables["cart_snapshots"] = cart_snapshots(rows, accounts_count, random)
    else:
        tables["usage"] = usage(rows, accounts_count, random)
    for feed, table in tables.items():
        (folder / feed).mkdir(parents=True)
        if as_csv:
            pacsv.write_csv(table, folder / feed / "1.csv")
        else:
            pq.write_table(table, folder / feed / "1.parquet")
    (folder / "rate_cards").mkdir()
    (folder / "rate_cards" / "card.v1.yaml").write_text(CARDS[feeds], encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--feeds", choices=CARDS, default="carts")
    parser.add_argument("--accounts", type=int, default=20_000)
    parser.add_argument("--rows", type=int, default=1_000_000, help="of each feed")
    parser.add_argument("--csv", action="store_true", help="CSV files instead of Parquet")
    parser.add_argument("options", nargs="*", help="options for `usage-rating run`, after --")
    chosen = parser.parse_args()
    with TemporaryDirectory() as folder:
        make_input(Path(folder) / "input", chosen.feeds, chosen.rows, chosen.accounts, as_csv=chosen.csv)
        command = [str(Path(sys.executable).with_name("usage-rating")), "run", "--as-of", AS_OF, *chosen.options]
        command += ["--input", f"{folder}/input", "--output", f"{folder}/output"]
        began = time.perf_counter()
        ended = subprocess.run(command, check=False)
        seconds = time.perf_counter() - began
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024**2
        print(f"\nexit {ended.returncode}, {seconds:.1f} s wall, {peak:.2f} GiB at the most")
        for table in ("invoices", "invoice_lines", "usage_history"):
            print(f"{table}: {pq.read_table(f'{folder}/output/{table}').num_rows:,} rows")
        kinds = pq.read_table(f"{folder}/output/invoice_lines", columns=["kind"]).column("kind").value_counts()
        print("lines:", {count["values"]: count["counts"] for count in kinds.to_pylist()})
        (hashed,) = pq.read_table(f"{folder}/output/runs").column("tables_hash").to_pylist()
        print(f"hash of all published tables: {hashed}")


if __name__ == "__main__":
    main()
