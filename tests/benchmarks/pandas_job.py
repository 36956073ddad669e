"""A rival: repeats, sums, peaks and limits by pandas, as one who knows it would write them for these rows alone.

    python -m tests.benchmarks.pandas_job FOLDER/parquet FOLDER/cycles.parquet OUT --as-of 2024-04-01

writes the same as polars_job and leaves out the same. Everything is in memory at once.
"""

from __future__ import annotations

import argparse
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

CENTS = {"messages": 1, "calls": 2}
METERS = ["order_items", "invoices", "shipping_labels", *CENTS]
CATEGORIES = ["standard", "premium", "edi"]
STATES = ["active", "disabled", "deleted"]
CYCLE = ["subscription", "number"]
NEVER = np.iinfo(np.int64).max


def places(words: pd.Index[Any], column: pd.Series[Any]) -> npt.NDArray[np.int32]:
    """Where each value of a categorical column stands among some words; -1 where it does not."""
    return words.get_indexer(column.cat.categories).astype(np.int32)[column.cat.codes]


class Job:
    """The frames of one input folder. Subscriptions are numbered, instants are microseconds: comparing text is slow."""

    def __init__(self, folder: Path, cycles: Path, as_of: date) -> None:
        self.folder = folder
        numbered = pd.read_parquet(cycles).sort_values("starts_at", kind="stable")
        numbered["number"] = numbered.groupby("subscription_id").cumcount() + 1
        numbered["starts_at"] = numbered["starts_at"].astype(np.int64)
        starts = numbered.set_index(["subscription_id", "number"])["starts_at"].unstack(fill_value=NEVER)
        self.names = starts.index
        self.starts = starts.to_numpy()
        numbered["subscription"] = self.names.get_indexer(pd.Index(numbered["subscription_id"]))
        self.ended = numbered[numbered["cycle_end"] <= as_of]

    def feed(self, name: str, instant: str, **words: list[str]) -> pd.DataFrame:
        """All files of a feed, in the order of their names; rows of nobody, or with other words, are gone.

        :param words: of some columns, all that may stand there
        """
        filters = [(column, "in", choices) for column, choices in words.items()] or None
        rows = pd.read_parquet(self.folder / name, filters=filters, read_dictionary=["subscription_id", *words])
        rows["subscription"] = places(self.names, rows.pop("subscription_id"))
        rows[instant] = rows[instant].astype(np.int64)
        return rows.loc[rows["subscription"] >= 0]

    def in_cycles(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Numbers each row's cycle, from 1 for its subscription's first; rows before it are gone."""
        subscriptions, occurred_at = rows["subscription"].to_numpy(), rows["occurred_at"].to_numpy()
        number = np.zeros(len(rows), np.int8)
        for starts in self.starts.T:
            number += occurred_at >= starts[subscriptions]
        return rows.assign(number=number)[number > 0]

    def usage(self) -> pd.DataFrame:
        """Each event once."""
        rows = self.feed("usage", "occurred_at", meter=METERS)
        rows = rows[rows["quantity"] >= 0].astype({"quantity": np.int64})
        rows["meter"] = places(pd.Index(METERS), rows["meter"])
        return self.in_cycles(rows.drop_duplicates(["subscription", "event_id"]))

    def clipped(self, usage: pd.DataFrame) -> pd.DataFrame:
        """What the spending limits clip, in cents: the furthest that the running total gets beyond its limit."""
        limits = self.feed("spending_limits", "agreed_at").sort_values("agreed_at")
        lowest = limits.groupby("subscription")["limit_amount"].min() * 100
        apps = usage[usage["meter"] >= METERS.index("messages")]
        apps = apps.assign(cents=apps["quantity"] * np.array([0, 0, 0, *CENTS.values()])[apps["meter"]])
        costs = apps.groupby(CYCLE)["cents"].transform("sum")
        reached = apps[costs > apps["subscription"].map(lowest)].sort_values(["occurred_at", "event_id"])
        running = pd.merge_asof(reached, limits, left_on="occurred_at", right_on="agreed_at", by="subscription")
        running["clipped"] = running.groupby(CYCLE)["cents"].cumsum() - running["limit_amount"] * 100
        furthest = running.groupby(CYCLE)[["clipped"]].max().reset_index()
        return furthest.loc[furthest["clipped"] > 0]

    def peaks(self) -> pd.DataFrame:
        """The most carts of each category at one instant of each cycle; at an instant, first go those switched off."""
        cart = ["subscription", "cart_id"]
        rows = self.feed("cart_events", "occurred_at", category=CATEGORIES, state=STATES)
        rows = rows.drop_duplicates([*cart, "occurred_at"]).sort_values([*cart, "occurred_at"])
        is_active = rows["state"] == "active"
        rows["category"] = np.where(is_active, places(pd.Index(CATEGORIES), rows["category"]), -1)
        rows["before"] = rows.groupby(cart)["category"].shift(fill_value=-1)
        rows = rows[rows["category"] != rows["before"]]
        changes = [
            rows.loc[rows[name] >= 0, ["subscription", "occurred_at"]].assign(category=rows[name], carts=step)
            for name, step in (("before", -1), ("category", 1))
        ]
        carried = self.ended[["subscription", "starts_at"]].rename(columns={"starts_at": "occurred_at"})
        carried = carried.merge(pd.DataFrame({"category": range(len(CATEGORIES)), "carts": 0}), how="cross")
        running = pd.concat([*changes, carried]).sort_values(["subscription", "category", "occurred_at", "carts"])
        running["carts"] = running.groupby(["subscription", "category"])["carts"].cumsum()
        most = self.in_cycles(running).groupby([*CYCLE, "category"])[["carts"]].max().reset_index()
        return most.assign(category=np.array(CATEGORIES)[most["category"]])

    def results(self) -> dict[str, pd.DataFrame]:
        """The three tables, of the cycles that have ended."""
        usage = self.usage()
        quantities = usage.groupby([*CYCLE, "meter"])[["quantity"]].sum().reset_index()
        quantities["meter"] = np.array(METERS)[quantities["meter"]]
        found: dict[str, pd.DataFrame] = {
            "quantities": quantities,
            "clipped": self.clipped(usage),
            "peaks": self.peaks(),
        }
        ended = self.ended[[*CYCLE, "subscription_id", "cycle_start"]]
        return {name: rows.merge(ended, on=CYCLE).drop(columns=CYCLE) for name, rows in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("folder", "cycles", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--as-of", type=date.fromisoformat, required=True)
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    for name, frame in Job(chosen.folder, chosen.cycles, chosen.as_of).results().items():
        frame.to_parquet(chosen.out / f"{name}.parquet", index=False)
        print(f"{name}: {len(frame):,} rows, in all {frame.select_dtypes('integer').sum().sum():,}")


if __name__ == "__main__":
    main()
