"""A year of nights from one seed, in which much goes wrong: `python -m tests.simulated_year SEED [ACCOUNTS [DAYS]]`.

Accounts of three rate cards in zones with and without clock changes, whose rows come on time, late, twice, revised and
voided. Nights are missed and repeated, runs killed, started twice at once or given a disk that fails, files broken,
damaged and sent again under other names. After each night the published tables must be what the oracle works out, and
no issued row may ever change; after the last one `verify` must agree.
"""

import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from tests import oracle_bill
from tests.comparison import (
    PUBLISHED,
    Ran,
    clipped_difference,
    difference_of,
    ledger_difference,
    limit_alert_difference,
    published,
    settings_for,
    tables_in,
)
from tests.file_layer import EIO, ENOSPC, disk_is, watched
from tests.folders import published_bytes, rows
from tests.kills import AT_ONE_MOMENT, RUN
from tests.oracle import World
from tests.oracle_bill import Books
from tests.oracle_credit import Ledger
from tests.test_doctor import DAMAGES, files_of
from tests.worlds import encoded, write_world
from usage_rating.doctor import examine, mend
from usage_rating.errors import BadInput
from usage_rating.night import run_night
from usage_rating.verification.verdict import Scope, verify

FIRST_DAY = date(2024, 1, 1)
ZONES = ("UTC", "America/New_York", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe")
NIGHTS_REBUILT = 40  # rebuilding runs every night again: later in the year a backup is at hand
ONLY_ADDED_TO = ("invoices", "invoice_lines")

Row = dict[str, str | None]
Card = dict[str, Any]


def card(name: str, currency: str, cycle: dict[str, str], plans: dict[str, Any], **more: Any) -> Card:
    """A version of a rate card, as its file says it."""
    return {
        "rate_card": name,
        "version": 1,
        "effective_from": date(2000, 1, 1),
        "reason": "For the simulated year.",
        "currency": currency,
        "time_zone": "UTC",
        "cycle": cycle,
        "grace_days": 0,
        "payment_days": 14,
        "rounding": "half_up",
        "settlement": "invoice",
        "plans": plans,
        **more,
    }


def peak(category: str, price: str) -> Card:
    """A charge for the most carts of a category."""
    return {"kind": "peak", "category": category, "price": {"per_unit": price}}


def used(meter: str, price: str, **more: Any) -> Card:
    """A charge for the sum of a meter."""
    return {"kind": "usage", "meter": meter, "aggregation": "sum", "price": {"per_unit": price}, **more}


def fee(bill: str, price: str) -> Card:
    """A recurring charge."""
    return {"kind": "recurring", "bill": bill, "price": {"flat": price}}


CARTS = card(
    "carts",
    "USD",
    {"every": "1 month", "anchor": "account_created"},
    {
        "basic": {"standard": peak("Standard", "40.00"), "premium": peak("Premium", "75.00")},
        "plus": {"standard": peak("Standard", "30.00"), "fee": fee("arrears", "25.00")},
    },
)
ORDERS = card(
    "orders",
    "JPY",
    {"every": "1 month", "anchor": "calendar"},
    {
        plan: {"invoices": used("invoices", price, minimum={"quantity": "20", "prorate": "first_cycle"})}
        for plan, price in (("basic", "3"), ("plus", "3.5"))
    },
    settlement="prepaid_credits",
)
APPS = card(
    "apps",
    "USD",
    {"every": "30 days", "anchor": "subscription_started"},
    {
        "basic": {"fee": fee("advance", "5.00"), "messages": used("messages", "1.00")},
        "plus": {"fee": fee("advance", "15.00"), "messages": used("messages", "0.50", cap="40.00")},
    },
    spending_limit={"default": "30.00", "alert_at": ["0.9", "1"]},
)


@dataclass
class Exports:
    """The rows of the year, each with the day on which it is sent."""

    random: Random
    days: int
    sent: dict[tuple[date, str], list[Row]] = field(default_factory=dict)
    carts: dict[tuple[str, str], list[tuple[datetime, str | None]]] = field(default_factory=dict)

    def chance(self, one_in: int) -> bool:
        """True once in so many times."""
        return self.random.randrange(one_in) == 0

    def moment(self, first: int = 0) -> datetime:
        """Some instant of the year from its n-th day on, now and then a midnight."""
        day = datetime.combine(FIRST_DAY, datetime.min.time(), UTC) + timedelta(
            days=self.random.randrange(first, max(self.days, first + 1))
        )
        return day if self.chance(8) else day + timedelta(minutes=self.random.randrange(1440))

    def send(self, feed: str, row: Row, at: datetime, *, is_first: bool = False) -> None:
        """Sends a row the day after, or late; some again, revised or voided by later rows."""
        on = at.date() + timedelta(days=1)
        if is_first:
            self.sent.setdefault((on, feed), []).append(row)
            return
        if self.chance(8):
            on += timedelta(days=self.random.choice([1, 3, 20, 45, 100]))
        self.sent.setdefault((on, feed), []).append(row)
        again = on + timedelta(days=self.random.choice([0, 1, 10, 40, 80]))
        if self.chance(25):
            self.sent.setdefault((again, feed), []).append(dict(row))
        if feed in ("usage", "one_off_charges", "cart_events", "credit_topups") and self.chance(15):
            self.sent.setdefault((again, feed), []).append(self.revised(feed, row))

    def revised(self, feed: str, row: Row) -> Row:
        """A higher revision: another figure, another time, or nothing any more."""
        row = row | {"revision": str(self.random.choice([1, 1, 2]))}
        if self.chance(3):
            return row | {"voided": "true"}
        if feed == "cart_events":
            return row | {"state": "active" if row["state"] == "disabled" else "disabled"}
        column = (
            "amount"
            if feed == "credit_topups"
            else self.random.choice(
                ["quantity" if feed == "usage" else "amount", "occurred_at" if feed == "usage" else "purchased_at"]
            )
        )
        value = self.moment().isoformat() if column.endswith("_at") else str(self.random.randrange(9))
        return row | {column: value}

    def account(self, number: int) -> None:
        """One account with one subscription, and all that is ever said of it."""
        own, plan = f"A{number:03}", self.random.choice(["basic", "plus"])
        rate_card = self.random.choice([CARTS, ORDERS, APPS])["rate_card"]
        begins = self.random.randrange(min(90, self.days // 3 + 1)) if number else 0
        at = (
            self.moment(begins)
            if number and self.chance(9)
            else datetime.combine(FIRST_DAY + timedelta(days=begins), datetime.min.time(), UTC)
        )
        account: Row = {"account_id": own, "created_at": at.isoformat(), "time_zone": self.random.choice(ZONES)}
        self.send("accounts", account, at, is_first=True)
        subscription = {"subscription_id": f"S{number:03}", "account_id": own, "rate_card": rate_card}
        self.send("subscriptions", self.says(subscription, at, plan, "started"), at, is_first=True)
        since = (at.date() - FIRST_DAY).days + 1
        for _ in range(self.random.choice([0, 0, 1, 2])):
            when = self.moment(since)
            event = self.random.choice(["plan_changed", "plan_changed", "cancelled", "reactivated"])
            says = self.says(subscription, when, self.random.choice(["basic", "plus"]), event)
            self.send("subscriptions", says, when)
        getattr(self, f"of_{rate_card}")(number, own, since)

    def says(self, subscription: Row, at: datetime, plan: str, event: str) -> Row:
        """A row of the feed `subscriptions`."""
        return subscription | {"effective_at": at.isoformat(), "plan": plan, "event": event}

    def of_carts(self, number: int, _: str, since: int) -> None:
        """Carts that come and go."""
        for cart in range(self.random.randrange(1, 4)):
            for when in sorted(self.moment(since) for _ in range(self.random.randrange(1, 5))):
                state = self.random.choice(["active", "active", "disabled"])
                category = self.random.choice(["Standard", "Standard", "Premium"])
                row: Row = {"subscription_id": f"S{number:03}", "cart_id": f"c{cart}", "occurred_at": when.isoformat()}
                self.send("cart_events", row | {"category": category, "state": state}, when)
                listed = category if state == "active" else None
                self.carts.setdefault((f"S{number:03}", f"c{cart}"), []).append((when, listed))

    def of_orders(self, number: int, account: str, since: int) -> None:
        """Usage against a minimum, paid from credit."""
        self.usage(number, "invoices", since)
        for topup in range(self.random.randrange(3)):
            when = self.moment(since)
            row: Row = {"topup_id": f"T{number:03}-{topup}", "account_id": account, "amount": "100"}
            self.send("credit_topups", row | {"purchased_at": when.isoformat()}, when)

    def of_apps(self, number: int, _: str, since: int) -> None:
        """Usage under a limit that is raised, and purchases."""
        self.usage(number, "messages", since)
        for raised, when in enumerate(sorted(self.moment(since) for _ in range(self.random.randrange(3)))):
            # Never revised: of a higher revision that is refused the oracle and the product judge otherwise.
            row: Row = {"subscription_id": f"S{number:03}", "agreed_at": when.isoformat()}
            self.send("spending_limits", row | {"limit_amount": str(40 + 20 * raised)}, when)
        for bought in range(self.random.randrange(3)):
            when = self.moment(since)
            row = {"charge_id": f"O{number:03}-{bought}", "subscription_id": f"S{number:03}", "amount": "7"}
            self.send("one_off_charges", row | {"description": "Setup", "purchased_at": when.isoformat()}, when)

    def usage(self, number: int, meter: str, since: int) -> None:
        """A few dozen events; one in forty is no number at all."""
        for event in range(self.random.randrange(2, self.days // 12 + 4)):
            when = self.moment(since)
            quantity = "some" if self.chance(40) else str(self.random.randrange(1, 12))
            row: Row = {"subscription_id": f"S{number:03}", "event_id": f"e{event}", "meter": meter}
            self.send("usage", row | {"quantity": quantity, "occurred_at": when.isoformat()}, when)

    def snapshots(self) -> None:
        """Every month a listing of all carts as they truly were, now and then a day or a month late."""
        for day in range(30, self.days, 30):
            at = datetime.combine(FIRST_DAY + timedelta(days=day), datetime.min.time(), UTC)
            on = at.date() + timedelta(days=self.random.choice([1, 1, 1, 2, 30]))
            for (subscription_id, cart_id), said in sorted(self.carts.items()):
                category = next((category for when, category in reversed(said) if when <= at), None)
                if category:
                    row: Row = {"snapshot_at": at.isoformat(), "subscription_id": subscription_id, "cart_id": cart_id}
                    self.sent.setdefault((on, "cart_snapshots"), []).append(
                        row | {"category": category, "state": "active"}
                    )


def year_of(random: Random, accounts: int, days: int, every: int) -> tuple[World, list[date]]:
    """The files of the year, each with the night it comes in, and the dates of the runs.

    A run comes every so many days, and one in eight is missed.
    """
    exports = Exports(random, days)
    for number in range(accounts):
        exports.account(number)
    exports.snapshots()
    tried = (day for day in range(1, days) if day in (1, days - 1) or (day % every == 0 and random.randrange(8)))
    nights = [FIRST_DAY + timedelta(days=day) for day in tried]
    files: dict[str, list[Row]] = {}
    comes: dict[str, int] = {}
    for (on, feed), sent in sorted(exports.sent.items(), key=lambda one: one[0]):
        night = next((number for number, night in enumerate(nights) if night >= on), None)
        if night is not None:
            name = f"{feed}/{on}{random.choice(['.csv', '.csv', '.csv.gz', '.parquet'])}"
            files[name], comes[name] = sent, night
    return World(files, [CARTS, ORDERS, APPS], nights=comes), nights


@dataclass
class Year:
    """A year at work: the folder it is in, what the oracle holds, and what was tried so far."""

    world: World
    nights: list[date]
    folder: Path
    random: Random
    books: Books = field(default_factory=lambda: Books(settled={}))
    announce: Callable[[str], None] = lambda said: None
    ledger: Ledger = field(default_factory=lambda: Ledger([], []))
    tried: Counter[str] = field(default_factory=Counter)
    issued: Counter[tuple[Any, ...]] = field(default_factory=Counter)
    invoices: Counter[str] = field(default_factory=Counter)

    def run(self) -> Iterator[str]:
        """Every night in turn; says what is wrong, if something is."""
        for number, as_of in enumerate(self.nights):
            there = self.world.until(number)
            mishap = self.random.choice(MISHAPS) if self.random.randrange(4) == 0 else None
            if mishap:
                self.tried[mishap.__name__] += 1
                if said := mishap(self, there, as_of):
                    yield f"{as_of}, {mishap.__name__}: {said}"
            write_world(there, self.folder / "input")
            report = run_night(settings_for(self.folder, as_of))
            bill = self.books.close(oracle_bill.rate(there, as_of, self.books))
            ran = Ran(report, {}, tables_in(self.folder / "output"), self.folder / "output")
            if said := self.difference(ran, bill):
                yield f"{as_of}: {said}"
                return
            self.announce(f"{as_of}: night {number + 1} of {len(self.nights)}, {self.invoices.total()} invoices")
        yield from map(str, examine(self.folder / "output", self.folder / "input"))
        yield from map(str, verify(self.folder / "input", self.folder / "output", Scope()).findings)

    def difference(self, ran: Ran, bill: oracle_bill.Bill) -> str:
        """What the night published otherwise than the oracle, or changed of what was issued."""
        for name in PUBLISHED:
            if said := difference_of(published(ran, name), Counter(tuple(row) for row in getattr(bill, name))):
                return f"{name}:\n{said}"
        if said := clipped_difference(ran, bill) or limit_alert_difference(ran, bill):
            return said
        if ledger := ledger_difference(ran, self.ledger, bill):
            return ledger
        now = Counter((table, *row) for table in ONLY_ADDED_TO for row in rows(self.folder, f"from {table}"))
        changed = list(self.issued - now)
        self.issued = now
        self.tried["nights"] += 1
        self.invoices = Counter(row["kind"] for row in ran.published["invoices"])
        return f"issued rows changed: {changed}" if changed else ""

    def arguments(self, as_of: date) -> list[str]:
        """The command line of a night over the folder."""
        folders = ["--input", str(self.folder / "input"), "--output", str(self.folder / "output")]
        return [*folders, "--as-of", str(as_of), "--max-rejected", "1", "--threads", "1"]


# ---- what goes wrong; each says what should not have been


def a_repeated_night(year: Year, _: World, as_of: date) -> str:
    """The last night once more; then one before the last that published, which is refused."""
    before = [night for night in year.nights if night < as_of]
    if not before:
        return ""
    if run_night(settings_for(year.folder, before[-1])).run_id is not None:
        return "a repeated night published something"
    ((published_last,),) = rows(year.folder, "select max(as_of) from runs")
    try:
        run_night(settings_for(year.folder, published_last - timedelta(days=1)))
    except BadInput:
        return ""
    return "an earlier night was not refused"


def a_file_again(year: Year, *_: object) -> str:
    """Any file so far under another name: the same bytes add nothing."""
    there = sorted(path for path in (year.folder / "input").glob("*/*") if path.suffix in (".csv", ".gz", ".parquet"))
    if there:
        path = year.random.choice(there)
        path.with_name(f"again-{len(there)}-{path.name}").write_bytes(path.read_bytes())
    return ""


def a_broken_file(year: Year, there: World, as_of: date) -> str:
    """A file of this night is cut short; the run refuses it, and the whole one comes."""
    folder = year.folder / "input"
    cut = [name for name in there.files if name.endswith((".csv", ".gz")) and not (folder / name).exists()]
    if not cut:
        return ""
    name = year.random.choice(cut)
    before = published_bytes(year.folder) if year.issued else {}
    write_world(there, folder)
    (folder / name).write_bytes(encoded(name, there.files[name])[:-1])
    try:
        run_night(settings_for(year.folder, as_of))
    except BadInput as refused:
        said = str(refused)
    else:
        return f"{name} was taken in, cut short"
    (folder / name).unlink()
    if before and published_bytes(year.folder) != before:
        return "a refused night published something"
    return "" if name in said else f"{name} is not named: {said}"


def a_kill(year: Year, there: World, as_of: date) -> str:
    """The run is killed after a random time."""
    write_world(there, year.folder / "input")
    with subprocess.Popen(
        [*RUN, *year.arguments(as_of)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            process.wait(year.random.uniform(0.3, 4))
        except subprocess.TimeoutExpired:
            process.kill()
    return ""


def two_at_once(year: Year, there: World, as_of: date) -> str:
    """Two runs at one moment: one does it, the other is told that the folder is held, or finds nothing to do."""
    write_world(there, year.folder / "input")
    go = year.folder / "go"
    command = [sys.executable, "-c", AT_ONE_MOMENT, str(go), "run", *year.arguments(as_of)]
    started = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(2)]
    go.touch()
    codes = sorted(process.wait() for process in started)
    go.unlink()
    return "" if codes in ([0, 0], [0, 3]) else f"exit codes {codes}"


def a_failing_disk(year: Year, there: World, as_of: date) -> str:
    """A step fails for want of space or by an input/output error; the run says so, or can do without it."""
    write_world(there, year.folder / "input")
    output = year.folder / "output"
    output.mkdir(exist_ok=True)
    fault, step = year.random.choice([ENOSPC, EIO]), year.random.randrange(1, 250)
    try:
        with watched(output, disk_is(fault, step)):
            run_night(settings_for(year.folder, as_of))
    except OSError:
        pass
    return ""


def a_damaged_file(year: Year, there: World, as_of: date) -> str:
    """A file that is kept or published is damaged: it is named, and rebuilt from the input files or put back."""
    output = year.folder / "output"
    if not year.issued:
        return ""
    whole = {path: path.read_bytes() for path in files_of(output)}
    path = year.random.choice(sorted(whole))
    year.random.choice(sorted(DAMAGES.items()))[1](path)
    found = examine(output, None)
    if not found:
        return f"{path} is not named"
    if year.tried["nights"] > NIGHTS_REBUILT:
        path.write_bytes(whole[path])
    else:
        mend(output, year.folder / "input")
    wrong = [str(path) for path, content in whole.items() if not path.exists() or path.read_bytes() != content]
    return f"not rebuilt: {wrong[:3]}" if wrong else ""


MISHAPS: tuple[Callable[[Year, World, date], str], ...] = (
    a_repeated_night,
    a_file_again,
    a_broken_file,
    a_kill,
    two_at_once,
    a_failing_disk,
    a_damaged_file,
)


def simulate(
    seed: int,
    accounts: int,
    days: int,
    folder: Path,
    announce: Callable[[str], None] = lambda said: None,
    *,
    every: int = 1,
) -> tuple[Year, list[str]]:
    """Runs a year, or a part of one, every night or every so many days; gives it with what is wrong."""
    random = Random(seed)  # noqa: S311
    world, nights = year_of(random, accounts, days, every)
    year = Year(world, nights, folder, random, announce=announce)
    return year, list(year.run())


def main(seed: int, accounts: int, days: int) -> int:
    """Runs it, saying how far it is; then what was tried, and what was wrong."""
    with TemporaryDirectory() as folder:
        year, faults = simulate(seed, accounts, days, Path(folder), lambda said: print(said, flush=True))
        count = sum(map(len, year.world.files.values()))
        print(f"seed {seed}: {accounts} accounts, {len(year.nights)} nights of {days} days, {count:,} rows")
        print(", ".join(f"{name} {count}" for name, count in sorted((year.tried + year.invoices).items())))
        print("\n".join([*faults, f"{len(faults)} faults"]))
    return 1 if faults else 0


if __name__ == "__main__":
    given = sys.argv[1:]
    sys.exit(main(*(int(word) for word in (*given, *("1", "300", "365")[len(given) :]))))
