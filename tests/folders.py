"""Input folders for the tests: one customer of one rate card, written as text, and what a night made of it."""

import re
import shutil
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import duckdb

from usage_rating.night import run_night
from usage_rating.report import NightReport
from usage_rating.settings import Settings
from usage_rating.tables import TABLES

EXAMPLE = Path(__file__).parents[1] / "docs" / "example"
ACCOUNTS = "account_id,created_at,time_zone"
SUBSCRIPTIONS = "subscription_id,effective_at,account_id,rate_card,plan,event"
CART_EVENTS = "subscription_id,cart_id,occurred_at,category,state"
CART_SNAPSHOTS = "snapshot_at,subscription_id,cart_id,category,state"

CARD = """\
rate_card: carts
version: 1
effective_from: 2023-01-01
reason: First price list.
currency: USD
time_zone: UTC
cycle: {every: 1 month, anchor: account_created}
plans:
  basic:
    standard_carts: {kind: peak, category: Standard, price: {per_unit: "40.00"}}
"""


def csv_text(header: str, *rows: str) -> str:
    """A CSV file's text, every line ended."""
    return "".join(f"{line}\n" for line in (header, *rows))


# Cycles from the 10th of each month, in UTC; a cart from 11 January on: 40.00 a month, first issued on 10 February.
ONE_CUSTOMER: dict[str, str | bytes] = {
    "rate_cards/carts.v1.yaml": CARD,
    "accounts/1.csv": csv_text(ACCOUNTS, "A1,2024-01-10,UTC"),
    "subscriptions/1.csv": csv_text(SUBSCRIPTIONS, "S1,2024-01-10,A1,carts,basic,started"),
    "cart_events/1.csv": csv_text(CART_EVENTS, "S1,c1,2024-01-11,Standard,active"),
}


def write(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    """Writes each file below `folder`, making its folders; gives `folder` back."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def settings_of(folder: Path, as_of: date, **policies: Any) -> Settings:
    """Settings for a run from `folder`/input to `folder`/output."""
    return Settings(input=folder / "input", output=folder / "output", as_of=as_of, threads=1, **policies)


def bill(folder: Path, as_of: date, files: Mapping[str, str | bytes] | None = None, **policies: Any) -> NightReport:
    """Adds the files to `folder`/input and runs a night over it into `folder`/output."""
    write(folder / "input", files or {})
    return run_night(settings_of(folder, as_of, **policies))


# The nights of the docs' example, each with the file that comes late, in it.
EXAMPLE_NIGHTS = {
    date(2024, 4, 10): "",
    date(2024, 6, 6): "cart_events/2024-06-06.csv",
    date(2024, 6, 7): "usage/2024-06-07.csv",
}


def bill_example(input_folder: Path, output: Path) -> None:
    """Bills the docs' example on its three nights: rows come late, invoices are corrected."""
    late = shutil.ignore_patterns(*(Path(name).name for name in EXAMPLE_NIGHTS.values() if name))
    shutil.copytree(EXAMPLE, input_folder, ignore=late)
    for night, name in EXAMPLE_NIGHTS.items():
        if name:
            shutil.copy(EXAMPLE / name, input_folder / name)
        run_night(Settings(input=input_folder, output=output, as_of=night, threads=1))


def copied(folder: Path, to: Path) -> Path:
    """Copies a folder that was billed, links and times of files as they are; gives `to` back."""
    shutil.copytree(folder, to, symlinks=True, dirs_exist_ok=True)
    return to


def rows(folder: Path, query: str) -> list[tuple[Any, ...]]:
    """What a query over the published views of `folder`/output gives."""
    # The path of the night itself: the engine would take two nights seen through one link for the same database.
    database = (folder / "output" / "billing.duckdb").resolve()
    with duckdb.connect(str(database), read_only=True) as connection:
        connection.execute("set timezone = 'UTC'")
        return connection.execute(query).fetchall()


def published_bytes(folder: Path) -> dict[str, bytes]:
    """Every published Parquet file of `folder`/output, by table and name."""
    output = folder / "output"
    return {
        path.relative_to(output).as_posix(): path.read_bytes()
        for table in TABLES
        for path in sorted((output / table).glob("*.parquet"))
    }


def timeless(printed: str) -> str:
    """What a run printed, but for how long it took and how many rows a second that makes."""
    return re.sub(
        r"( rows read and rated in )[0-9,]+\.[0-9] s: [0-9,]+ rows a second$", r"\1…", printed, flags=re.MULTILINE
    )
