"""A rival: repeats, sums, peaks and limits by Polars, as one who knows it would write them for these rows alone.

    python -m tests.benchmarks.polars_job FOLDER/parquet FOLDER/cycles.parquet OUT --as-of 2024-04-01

writes quantities, peaks and clipped cents of the cycles that ended by that day to OUT, and prints their totals. It
knows the cards' prices by heart, leaves wrong rows out without a word, and could not take in a second night.
"""

import argparse
from datetime import date
from pathlib import Path

import polars as pl

CENTS = {"messages": 1, "calls": 2}
METERS = ["order_items", "invoices", "shipping_labels", *CENTS]
CATEGORIES = ["standard", "premium", "edi"]
STATES = ["active", "disabled", "deleted"]
EVENT = ["subscription_id", "event_id"]
CYCLE = ["subscription_id", "number"]


class Job:
    """The lazy frames of one input folder."""

    def __init__(self, folder: Path, cycles: Path, as_of: date) -> None:
        self.folder = folder
        numbered = pl.read_parquet(cycles).sort("starts_at")
        numbered = numbered.with_columns(number=pl.col("starts_at").cum_count().over("subscription_id").cast(pl.Int8))
        self.ended = numbered.filter(pl.col("cycle_end") <= as_of).select(*CYCLE, "cycle_start", "starts_at").lazy()
        self.starts = numbered.pivot("number", index="subscription_id", values="starts_at").lazy()
        self.names = [name for name in self.starts.collect_schema().names() if name != "subscription_id"]

    def feed(self, name: str) -> pl.LazyFrame:
        """All files of a feed, in the order in which the first of two rows that disagree stands."""
        return pl.scan_parquet(self.folder / name / "*.parquet")

    def in_cycles(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        """Numbers each row's cycle, from 1 for its subscription's first; rows before it, or of nobody, are gone."""
        number = pl.sum_horizontal((pl.col("occurred_at") >= pl.col(name)).cast(pl.Int8) for name in self.names)
        placed = rows.join(self.starts, on="subscription_id").with_columns(number=number.cast(pl.Int8))
        return placed.drop(self.names).filter(pl.col("number") > 0)

    def usage(self, of: pl.LazyFrame | None = None) -> pl.LazyFrame:
        """Each event once, of some subscriptions or of all."""
        rows = self.feed("usage").filter(pl.col("quantity") >= 0, pl.col("meter").is_in(METERS))
        if of is not None:
            rows = rows.join(of, on="subscription_id", how="semi", maintain_order="left")
        return self.in_cycles(rows.unique(EVENT, keep="first"))

    def quantities(self) -> pl.LazyFrame:
        """What each cycle used of each meter."""
        return self.usage().group_by(*CYCLE, "meter").agg(pl.col("quantity").sum())

    def clipped(self, quantities: pl.DataFrame) -> pl.LazyFrame:
        """What the spending limits clip, in cents: the furthest that the running total gets beyond its limit."""
        cents = pl.col("quantity") * pl.col("meter").replace_strict(CENTS, default=0, return_dtype=pl.Int64)
        limits = self.feed("spending_limits").sort("agreed_at")
        lowest = limits.group_by("subscription_id").agg(pl.col("limit_amount").min() * 100)
        costs = quantities.lazy().group_by(CYCLE).agg(cents.sum().alias("cents"))
        reached = costs.join(lowest, on="subscription_id").filter(pl.col("cents") > pl.col("limit_amount"))
        running = (
            self.usage(reached)
            .join(reached, on=CYCLE, how="semi")
            .sort("occurred_at", "event_id")
            .join_asof(
                limits, left_on="occurred_at", right_on="agreed_at", by="subscription_id", check_sortedness=False
            )
            .with_columns(beyond=cents.cum_sum().over(CYCLE) - pl.col("limit_amount") * 100)
        )
        return (
            running.group_by(CYCLE).agg(pl.col("beyond").max().clip(0).alias("clipped")).filter(pl.col("clipped") > 0)
        )

    def peaks(self) -> pl.LazyFrame:
        """The most carts of each category at one instant of each cycle; at an instant, first go those switched off."""
        cart = ["subscription_id", "cart_id"]
        stated = (
            self.feed("cart_events")
            .filter(pl.col("category").is_in(CATEGORIES), pl.col("state").is_in(STATES))
            .unique([*cart, "occurred_at"], keep="first")
            .sort(*cart, "occurred_at")
            .with_columns(category=pl.when(pl.col("state") == "active").then("category"))
            .with_columns(before=pl.col("category").shift().over(cart))
            .filter(pl.col("category").ne_missing(pl.col("before")))
        )
        changes = [
            stated.drop_nulls(name).select(
                "subscription_id", "occurred_at", category=name, carts=pl.lit(step, pl.Int32)
            )
            for name, step in (("before", -1), ("category", 1))
        ]
        of_each = self.ended.join(pl.LazyFrame({"category": CATEGORIES}), how="cross")
        carried = of_each.select("subscription_id", "category", occurred_at="starts_at", carts=pl.lit(0, pl.Int32))
        running = (
            pl.concat([*changes, carried], how="diagonal")
            .sort("subscription_id", "category", "occurred_at", "carts")
            .with_columns(carts=pl.col("carts").cum_sum().over("subscription_id", "category"))
        )
        return self.in_cycles(running).group_by(*CYCLE, "category").agg(pl.col("carts").max())

    def results(self) -> dict[str, pl.DataFrame]:
        """The three tables, of the cycles that have ended."""
        quantities = self.quantities().collect(engine="streaming")
        found = {"quantities": quantities.lazy(), "clipped": self.clipped(quantities), "peaks": self.peaks()}
        ended = self.ended.drop("starts_at")
        frames = pl.collect_all([rows.join(ended, on=CYCLE) for rows in found.values()], engine="streaming")
        return {name: frame.drop("number") for name, frame in zip(found, frames, strict=True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("folder", "cycles", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--as-of", type=date.fromisoformat, required=True)
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    for name, frame in Job(chosen.folder, chosen.cycles, chosen.as_of).results().items():
        frame.write_parquet(chosen.out / f"{name}.parquet")
        print(f"{name}: {frame.height:,} rows, in all {frame[frame.columns[-2]].sum():,}")


if __name__ == "__main__":
    main()
