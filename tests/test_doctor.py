"""`doctor`: every damaged file is found and named, and what the input files can rebuild is rebuilt, byte for byte."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from tests.folders import ACCOUNTS, CART_EVENTS, ONE_CUSTOMER, SUBSCRIPTIONS, bill, copied, csv_text, published_bytes
from tests.test_properties import bytes_of
from usage_rating import night_files
from usage_rating.doctor import Damage, examine, mend
from usage_rating.errors import BadInput
from usage_rating.intake import OPENED_WHEN_ASKED_FOR

NIGHTS = (date(2024, 2, 10), date(2024, 2, 20), date(2024, 3, 10))
EXPORTS: tuple[dict[str, str | bytes], ...] = (
    ONE_CUSTOMER,
    {
        "cart_events/2.csv": csv_text(
            CART_EVENTS, "S1,c2,2024-01-12,Standard,active", "S9,c1,2024-02-12,Standard,active"
        )
    },
    {
        "accounts/2.csv": csv_text(ACCOUNTS, "A2,2024-01-20,UTC"),
        "subscriptions/2.csv": csv_text(SUBSCRIPTIONS, "S2,2024-01-20,A2,carts,basic,started"),
    },
)
DAMAGES: dict[str, Callable[[Path], object]] = {
    "one bit": lambda path: path.write_bytes(flipped(path.read_bytes())),
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "emptied": lambda path: path.write_bytes(b""),
    "gone": lambda path: path.unlink(),
}


def flipped(content: bytes) -> bytes:
    """The same bytes but for one bit in their middle."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 16]) + content[middle + 1 :]


@pytest.fixture(scope="module")
def billed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three nights: the second corrects the first's invoice."""
    folder = tmp_path_factory.mktemp("billed")
    for night, export in zip(NIGHTS, EXPORTS, strict=True):
        bill(folder, night, export)
    return folder


def files_of(output: Path) -> list[Path]:
    """Everything kept or published, under all of its names; the lock holds nothing."""
    return [
        path
        for path in sorted(output.rglob("*"))
        if path.is_file() and not path.is_symlink() and not path.name.startswith(".lock")
    ]


def is_named(path: Path, found: list[Damage]) -> bool:
    """Whether a file is among the damages; of the views' hash, whether the views are."""
    return (path.with_suffix(".duckdb") if path.name == "billing.sha256" else path) in {each.path for each in found}


def test_an_undamaged_folder_is_well(billed: Path) -> None:
    assert examine(billed / "output", billed / "input") == []


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_damaged_file_is_named_and_none_else(damage: str, billed: Path, tmp_path: Path) -> None:
    """Each in turn, under every kind of damage."""
    names = [path.relative_to(billed / "output") for path in files_of(billed / "output")]
    assert len(names) > 30
    for number, name in enumerate(names):
        output = shutil.copytree(billed / "output", tmp_path / str(number), symlinks=True)
        DAMAGES[damage](output / name)
        found = examine(output, None)
        assert is_named(output / name, found), name
        assert {damage.path.name for damage in found} <= {name.name, "billing.duckdb"}, name
        shutil.rmtree(output)


def test_no_run_builds_on_a_damaged_file(billed: Path, tmp_path: Path) -> None:
    """Of the last night, whatever it is; the views are for readers alone. One bit of a usage file is found by the night
    that opens it."""
    last = (billed / "output" / "current").resolve()
    names = [path.relative_to(last) for path in sorted(last.rglob("*")) if path.is_file() and path.stem != "billing"]
    for number, name in enumerate(names):
        folder = copied(billed, tmp_path / str(number))
        kinds = [kind for kind in DAMAGES if kind != "one bit" or name.parent.name not in OPENED_WHEN_ASKED_FOR]
        DAMAGES[kinds[number % len(kinds)]](folder / "output" / "current" / name)
        before = bytes_of(folder / "output")
        with pytest.raises(BadInput, match=f"{name.name}: is "):
            bill(folder, date(2024, 4, 10))
        assert bytes_of(folder / "output") == before
        shutil.rmtree(folder)


@pytest.mark.parametrize("damage", ["one bit", "gone"])
def test_what_the_input_files_can_rebuild_is_rebuilt(damage: str, billed: Path, tmp_path: Path) -> None:
    """All of it at once: every Parquet file, every manifest in the nights, the views and a link."""
    folder = copied(billed, tmp_path)
    output = folder / "output"
    whole = bytes_of(billed / "output")
    for path in files_of(output):
        if not path.is_relative_to(output / "manifests"):
            DAMAGES[damage](path)
    (output / "invoices").unlink()
    found = mend(output, folder / "input")
    assert found
    assert [str(each) for each in found if not each.is_mended] == []
    assert published_bytes(folder) == published_bytes(billed)
    assert examine(output, folder / "input") == []
    mended = bytes_of(output)
    assert {name for name in whole if whole[name] != mended.get(name) and "billing" not in name} == set()
    assert bill(folder, date(2024, 4, 10)).run_id == "000004"


def test_what_cannot_be_rebuilt_is_said(billed: Path, tmp_path: Path) -> None:
    """The export that the second run took in is gone: what hangs on it is lost, what came before is not."""
    folder = copied(billed, tmp_path)
    output = folder / "output"
    (folder / "input" / "cart_events" / "2.csv").unlink()
    for name in ("invoices/000001.parquet", "invoices/000002.parquet"):
        (output / "current" / name).unlink()
    found = mend(output, folder / "input")
    left = {damage.path.relative_to(folder).as_posix() for damage in found if not damage.is_mended}
    assert left == {"input/cart_events/2.csv", "output/nights/000003/invoices/000002.parquet"}
    assert (output / "current" / "invoices" / "000001.parquet").is_file()


def test_files_that_took_in_earlier_ones_are_rebuilt_and_so_are_those(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(night_files, "RUNS_GATHERED", 2)
    for night, export in zip(NIGHTS, EXPORTS, strict=True):
        bill(tmp_path, night, export)
    output, name = tmp_path / "output", "invoices/000002.parquet"
    whole = bytes_of(output)
    assert [path.name for path in sorted((output / "invoices").iterdir())] == ["000002.parquet", "000003.parquet"]
    for lost in ("000001/invoices/000001.parquet", f"000002/{name}", f"000003/{name}"):
        (output / "nights" / lost).unlink()
    assert len(mend(output, tmp_path / "input")) == 3
    assert bytes_of(output) == whole
    assert examine(output, tmp_path / "input") == []


def test_a_manifest_lost_with_its_copy_leaves_nothing_to_go_by(billed: Path, tmp_path: Path) -> None:
    output = copied(billed, tmp_path) / "output"
    for path in output.rglob("manifests/000002.json"):
        path.write_bytes(b"{}")
    with pytest.raises(BadInput, match=r"000002\.json: is damaged or missing, and so is its copy"):
        examine(output, None)


def test_a_file_that_no_run_wrote_is_named(billed: Path, tmp_path: Path) -> None:
    output = copied(billed, tmp_path) / "output"
    (output / "current" / "invoices" / "mine.parquet").write_bytes(b"x")
    assert [(damage.path.name, damage.what) for damage in examine(output, None)] == [
        ("mine.parquet", "was not written by a run")
    ]


def test_the_command_says_what_is_left(billed: Path, tmp_path: Path) -> None:
    folder = copied(billed, tmp_path)
    command = [str(Path(sys.executable).with_name("usage-rating")), "doctor", "--output", str(folder / "output")]

    def said(*options: str) -> tuple[int, str]:
        ran = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
        assert "Traceback" not in ran.stderr
        return ran.returncode, ran.stdout + ran.stderr

    assert said() == (0, f"{folder / 'output'}: all that the runs wrote is there as they wrote it.\n")
    (folder / "output" / "current" / "invoices" / "000002.parquet").unlink()
    code, text = said()
    assert code == 2
    assert "nights/000003/invoices/000002.parquet: is missing. It holds what run 000002 and those before it" in text
    code, text = said("--input", str(folder / "input"), "--repair")
    assert code == 0
    assert "is missing, mended now" in text
