"""What a bound holds waits for a person and goes out once approved, as it was seen; everybody else's goes out."""

import subprocess
import sys
from contextlib import ExitStack
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from tests.folders import (
    ACCOUNTS,
    CART_EVENTS,
    CART_SNAPSHOTS,
    ONE_CUSTOMER,
    SUBSCRIPTIONS,
    bill,
    csv_text,
    published_bytes,
    rows,
    write,
)
from usage_rating.approvals import approve, held
from usage_rating.doctor import examine, mend
from usage_rating.errors import BadInput

FEBRUARY, MARCH, APRIL = date(2024, 2, 10), date(2024, 3, 10), date(2024, 4, 10)
TWICE = Decimal(2)
INVOICES = "select account_id, kind, cycle_start, total from invoices order by invoice_number"
HELD = "select invoice_id, run_id, held_since, kind, cycle_start, total, reason from held_invoices order by cycle_start"
# A1 has one cart and from 12 February nine more, A2 one: 40.00 a cart.
TWO_CUSTOMERS = ONE_CUSTOMER | {
    "accounts/2.csv": csv_text(ACCOUNTS, "A2,2024-01-10,UTC"),
    "subscriptions/2.csv": csv_text(SUBSCRIPTIONS, "S2,2024-01-10,A2,carts,basic,started"),
    "cart_events/2.csv": csv_text(CART_EVENTS, "S2,c1,2024-01-11,Standard,active"),
}
NINE_MORE = {
    "cart_events/3.csv": csv_text(CART_EVENTS, *(f"S1,x{number},2024-02-12,Standard,active" for number in range(9)))
}

# Has the numbers that are taken, and writes once a line comes in.
APPROVE_WHEN_TOLD = """\
import sys
from pathlib import Path
from usage_rating import approvals

link = approvals._link

def when_told(*file):
    print("ready", flush=True)
    sys.stdin.readline()
    return link(*file)

approvals._link = when_told
print(approvals.approve(Path(sys.argv[1]), [sys.argv[2]]).name)
"""


@pytest.fixture
def jumped(tmp_path: Path) -> Path:
    """A1's March bill is ten times its February one, and waits."""
    bill(tmp_path, FEBRUARY, TWO_CUSTOMERS, max_change=TWICE)
    bill(tmp_path, MARCH, NINE_MORE, max_change=TWICE)
    return tmp_path


def test_a_bill_far_above_the_last_ones_waits_and_everybody_elses_goes_out(jumped: Path) -> None:
    issued = [("A1", "cycle", date(2024, 1, 10), 40), ("A2", "cycle", date(2024, 1, 10), 40)]
    assert sorted(rows(jumped, INVOICES)) == [*issued, ("A2", "cycle", date(2024, 2, 10), 40)]
    ((invoice_id, *said),) = rows(jumped, HELD)
    assert said == ["000002", MARCH, "cycle", date(2024, 2, 10), 400, "max_change"]
    (waiting,) = held(jumped / "output")
    assert (waiting.subject, waiting.total) == (invoice_id, "400.0000")
    assert rows(jumped, f"from invoice_lines where invoice_id = '{invoice_id}'") == []
    assert rows(jumped, "select quantity from usage_history where cycle_start = '2024-02-10'") == [(1,)]


def test_it_waits_every_night_and_publishes_nothing_new(jumped: Path) -> None:
    before = published_bytes(jumped)
    assert bill(jumped, date(2024, 3, 11), max_change=TWICE).run_id is None
    assert published_bytes(jumped) == before


def test_once_approved_it_goes_out_as_it_was_seen(jumped: Path) -> None:
    (waiting,) = held(jumped / "output")
    approve(jumped / "output", [waiting.subject])
    report = bill(jumped, date(2024, 3, 12), max_change=TWICE)
    assert report.run_id == "000003"
    assert rows(jumped, HELD) == []
    assert rows(jumped, INVOICES)[-1] == ("A1", "cycle", date(2024, 2, 10), 400)
    assert rows(jumped, "select issue_date, issued_as_of from invoices where total = 400") == [
        (MARCH, date(2024, 3, 12))
    ]
    bill(jumped, APRIL, max_change=TWICE)  # what was approved is among the last ones now
    assert rows(jumped, HELD) == []


def test_an_approval_holds_for_the_total_that_was_seen(jumped: Path) -> None:
    """Another cart becomes known meanwhile: 440.00 is not what was approved."""
    (waiting,) = held(jumped / "output")
    approve(jumped / "output", [waiting.subject])
    more = {"cart_events/4.csv": csv_text(CART_EVENTS, "S1,y,2024-02-13,Standard,active")}
    bill(jumped, date(2024, 3, 12), more, max_change=TWICE)
    assert [(row[1], row[-2]) for row in rows(jumped, HELD)] == [("000002", 440)]


def test_an_approval_is_spent_once_the_invoice_is_issued(tmp_path: Path) -> None:
    """Nine late carts are approved; nine more come to the same total, and wait."""
    bill(tmp_path, FEBRUARY, ONE_CUSTOMER, max_change=TWICE)
    for number, night in ((2, 11), (3, 13)):
        late = csv_text(CART_EVENTS, *(f"S1,{number}{cart},2024-02-01,Standard,active" for cart in range(9)))
        bill(tmp_path, date(2024, 2, night), {f"cart_events/{number}.csv": late}, max_change=TWICE)
        assert [row[-2:] for row in rows(tmp_path, HELD)] == [(360, "max_change")]
        if number == 2:
            path = approve(tmp_path / "output", [held(tmp_path / "output")[0].subject])
            bill(tmp_path, date(2024, 2, 12), max_change=TWICE)
            assert rows(tmp_path, HELD) == []
            path.unlink()
    assert approve(tmp_path / "output", [held(tmp_path / "output")[0].subject]).name == "000002.csv"


def test_without_the_bound_it_goes_out_the_next_night(jumped: Path) -> None:
    bill(jumped, date(2024, 3, 11))
    assert rows(jumped, HELD) == []


def test_a_correction_far_above_the_last_bills_waits_too(tmp_path: Path) -> None:
    bill(tmp_path, FEBRUARY, ONE_CUSTOMER, max_change=TWICE)
    late = {"cart_events/2.csv": NINE_MORE["cart_events/3.csv"].replace("2024-02-12", "2024-02-01")}
    bill(tmp_path, date(2024, 2, 11), late, max_change=TWICE)
    ((_, *said),) = rows(tmp_path, HELD)
    assert said == ["000002", date(2024, 2, 11), "correction", date(2024, 1, 10), 360, "max_change"]
    bill(tmp_path, date(2024, 2, 12), {"usage/1.csv": csv_text("subscription_id,event_id,meter,quantity,occurred_at")})
    assert rows(tmp_path, INVOICES)[-1] == ("A1", "correction", date(2024, 1, 10), 360)


def test_a_held_snapshot_counts_once_it_is_approved(tmp_path: Path) -> None:
    """Three carts on the 12th, one on the 13th: held; approved after the invoice, carts 1 and 2 end on the 13th."""
    three = csv_text(CART_SNAPSHOTS, *(f"2024-02-12,S1,c{number},Standard,active" for number in (1, 2, 3)))
    one = csv_text(CART_SNAPSHOTS, "2024-02-13,S1,c3,Standard,active")
    bill(tmp_path, FEBRUARY, ONE_CUSTOMER)
    bill(tmp_path, APRIL, {"cart_snapshots/1.csv": three, "cart_snapshots/2.csv": one})
    by_cycle = "select cycle_start, kind, total from invoices order by invoice_number"
    march, april = (date(2024, 2, 10), "cycle", 120), (date(2024, 3, 10), "cycle", 120)
    assert rows(tmp_path, by_cycle)[1:] == [march, april]
    assert [each.subject for each in held(tmp_path / "output")] == ["2024-02-13 00:00:00+00"]
    approve(tmp_path / "output", ["2024-02-13T00:00:00Z"])
    bill(tmp_path, date(2024, 4, 11))
    assert rows(tmp_path, by_cycle)[3:] == [(date(2024, 3, 10), "correction", -80)]
    assert rows(tmp_path, "from rejected_rows") == []
    assert held(tmp_path / "output") == []


def test_what_is_not_held_cannot_be_approved(jumped: Path) -> None:
    (waiting,) = held(jumped / "output")
    with pytest.raises(BadInput) as error:
        approve(jumped / "output", [waiting.subject, "in_0", "2024-02-13"])
    assert [fault.partition(":")[0] for fault in error.value.faults] == ["in_0", "2024-02-13"]
    assert waiting.subject in str(error.value)
    assert not (jumped / "output" / "approvals").exists()
    with pytest.raises(BadInput, match="holds no published night"):
        approve(jumped / "none", ["in_0"])


def test_an_approval_is_an_input_that_doctor_knows(jumped: Path) -> None:
    """It is named where it is changed, and nights are rebuilt with it."""
    output = jumped / "output"
    path = approve(output, [held(output)[0].subject])
    bill(jumped, date(2024, 3, 12))
    assert examine(output, jumped / "input") == []
    (output / "current" / "invoices" / "000003.parquet").unlink()
    assert [damage for damage in mend(output, jumped / "input") if not damage.is_mended] == []
    path.write_text(path.read_text().replace("400", "401"))
    assert [damage.path.name for damage in examine(output, None)] == ["000001.csv"]


def test_a_damaged_approval_stops_the_run(jumped: Path) -> None:
    write(jumped / "output", {"approvals/000001.csv": "invoice_id,total\nin_0,much\n"})
    with pytest.raises(BadInput, match=r"approvals/000001\.csv: is damaged"):
        bill(jumped, date(2024, 3, 12))


def test_the_command_lists_and_approves(jumped: Path) -> None:
    command = [str(Path(sys.executable).with_name("usage-rating")), "approve", "--output", str(jumped / "output")]

    def said(*subjects: str) -> tuple[int, str]:
        ran = subprocess.run([*command, *subjects], capture_output=True, text=True, check=False)
        return ran.returncode, ran.stdout + ran.stderr

    (waiting,) = held(jumped / "output")
    shown = "cycle of A1 for the cycle of 2024-02-10 over 400.0000 USD: max_change"
    assert said() == (0, f"{waiting.subject}: {shown}\n")
    assert said("in_0")[0] == 2
    code, text = said(waiting.subject)
    assert code == 0
    assert text.endswith("approvals/000001.csv: it counts from the next run on.\n")
    bill(jumped, date(2024, 3, 12))
    assert said() == (0, "Nothing waits for approval.\n")


def test_people_who_approve_at_once_each_have_a_file_of_their_own(jumped: Path) -> None:
    """Each has seen the same last number before any of them writes."""
    (waiting,) = held(jumped / "output")
    command = [sys.executable, "-c", APPROVE_WHEN_TOLD, str(jumped / "output"), waiting.subject]
    with ExitStack() as stack:
        people = [
            stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            for _ in range(4)
        ]
        assert [each.stdout and each.stdout.readline() for each in people] == ["ready\n"] * 4
        said = [each.communicate("go on\n")[0] for each in people]
    assert [each.returncode for each in people] == [0] * 4
    names = [f"{number:06d}.csv" for number in range(1, 5)]
    assert sorted(said) == [f"{name}\n" for name in names]
    assert sorted(path.name for path in (jumped / "output" / "approvals").iterdir()) == names
    bill(jumped, date(2024, 3, 12), max_change=TWICE)
    assert rows(jumped, INVOICES)[-1] == ("A1", "cycle", date(2024, 2, 10), 400)
