"""How much memory the engine takes, and what is said where that does not suffice."""

from datetime import date
from pathlib import Path

import duckdb
import pytest

from tests.folders import CARD, ONE_CUSTOMER, csv_text, published_bytes, settings_of, write
from usage_rating.engine import disk_faults_as_os_errors, memory_limit_where_none_is_given, open_engine
from usage_rating.errors import BadInput
from usage_rating.night import run_night
from usage_rating.settings import Settings

MIB, GIB = 2**20, 2**30
ROWS, ENOUGH, TOO_LITTLE = 100_000, "20MB", "5MB"  # so many rows spill from 25 MB down, and fail at 15 MB


@pytest.mark.parametrize(
    ("there_is", "limit"),
    [
        (512 * MIB, 256 * MIB),
        (1 * GIB, 512 * MIB),
        (2 * GIB, 1 * GIB),
        (3 * GIB, 2 * GIB),
        (4 * GIB, 3 * GIB),
        (5 * GIB, 4 * GIB),
        (10 * GIB, 8 * GIB),
        (100 * GIB, 80 * GIB),
    ],
)
def test_memory_is_left_for_what_runs_beside_the_engine(there_is: int, limit: int) -> None:
    assert memory_limit_where_none_is_given(there_is) == limit


def limit_of(engine: duckdb.DuckDBPyConnection) -> int:
    ((limit,),) = engine.execute("select parse_formatted_bytes(current_setting('memory_limit'))").fetchall()
    return int(limit)


def test_the_engine_takes_what_the_rule_says_of_the_memory_there_is(tmp_path: Path) -> None:
    settings = Settings(input=tmp_path, output=tmp_path)
    with duckdb.connect() as untouched, open_engine(settings, tmp_path) as engine:
        expected = memory_limit_where_none_is_given(limit_of(untouched) * 5 // 4)
        assert limit_of(engine) == pytest.approx(expected, rel=0.1), "it is told with one decimal"
    with open_engine(settings.model_copy(update={"memory_limit": "300MiB"}), tmp_path) as engine:
        assert limit_of(engine) == 300 * MIB


USAGE = "subscription_id,event_id,meter,quantity,occurred_at"
MESSAGES = '    messages: {kind: usage, meter: messages, aggregation: sum, price: {per_unit: "0.01"}}\n'


@pytest.fixture(scope="module")
def much_usage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("much_usage")
    events = (f"S1,event-{n:09},messages,{n % 7 + 1},2024-01-{n % 20 + 11}T{n % 24:02}:00" for n in range(ROWS))
    usage = {"rate_cards/carts.v1.yaml": CARD + MESSAGES, "usage/1.csv": csv_text(USAGE, *events)}
    return write(folder, {f"input/{name}": text for name, text in (ONE_CUSTOMER | usage).items()})


def night_with(memory_limit: str | None, folder: Path, output: Path) -> set[str]:
    """Runs a night; gives the names of the files that it spilled to."""
    settings = settings_of(folder, date(2024, 2, 10), memory_limit=memory_limit)
    spill = output / "output/.work/spill"
    spilled: set[str] = set()
    run_night(
        settings.model_copy(update={"output": output / "output"}),
        announce=lambda step: spilled.update(path.name for path in spill.glob("*")),
    )
    assert not spill.exists()
    return spilled


def test_a_night_that_spills_publishes_the_same_bytes(much_usage: Path, tmp_path: Path) -> None:
    assert not night_with(None, much_usage, tmp_path / "much")
    assert night_with(ENOUGH, much_usage, tmp_path / "little")
    assert published_bytes(tmp_path / "little") == published_bytes(tmp_path / "much")


def test_with_too_little_memory_nothing_is_published_and_the_option_is_named(much_usage: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="--memory-limit: too little for this input"):
        night_with(TOO_LITTLE, much_usage, tmp_path)
    assert published_bytes(tmp_path) == {}


def test_a_disk_too_full_to_spill_to_is_told_from_too_little_memory(tmp_path: Path) -> None:
    settings = Settings(input=tmp_path, output=tmp_path, memory_limit="40MB", threads=1)
    with open_engine(settings, tmp_path) as engine:
        engine.execute("set max_temp_directory_size = '1MB'")  # left alone, it is what the disk has free
        with pytest.raises(BadInput, match="The disk of --output has too little room"), disk_faults_as_os_errors():
            engine.execute("create table too_large as select md5(range::varchar) as text from range(5000000)")
