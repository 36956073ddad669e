"""The wheel: built offline, installed elsewhere, it carries sql/ and bills the sample as the checkout does."""

import subprocess
import sys
import sysconfig
import venv
import zipfile
from datetime import date
from pathlib import Path

import pytest

from tests.folders import rows
from usage_rating.night import run_night
from usage_rating.settings import Settings

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "data" / "sample"
AS_OF = date(2024, 5, 5)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.glob("usage_rating-*-py3-none-any.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel in it; of ours it sees the dependencies, not the checkout."""
    folder = tmp_path_factory.mktemp("elsewhere") / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    uv = [
        str(Path(sys.executable).with_name("uv")),
        "pip",
        "install",
        "--offline",
        "--no-deps",
        "--no-cache",
        "--quiet",
    ]
    subprocess.run([*uv, "--python", str(python), str(wheel)], check=True, capture_output=True)
    # A .pth file found on a path that a .pth file adds is not followed: the editable checkout stays out.
    site_packages = folder / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


def test_the_wheel_carries_the_package_and_its_sql_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
    package = [path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src" / "usage_rating").rglob("*.py")]
    sql = [f"usage_rating/{path.relative_to(ROOT)}" for path in (ROOT / "sql").rglob("*") if path.is_file()]
    assert sorted(names) == sorted(package + sql)


def test_the_installed_wheel_bills_the_sample_as_the_checkout_does(installed: Path, tmp_path: Path) -> None:
    found = "import usage_rating, usage_rating.sql_files as s; print(usage_rating.__file__); print(s.SQL_FOLDER)"
    where = subprocess.run(
        [installed / "bin" / "python", "-c", found], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert [Path(line).is_relative_to(installed) for line in where.stdout.splitlines()] == [True, True]
    command = [str(installed / "bin" / "usage-rating"), "run", "--as-of", str(AS_OF)]
    folders = ["--input", str(SAMPLE), "--output", "wheel/output"]
    subprocess.run([*command, *folders], cwd=tmp_path, check=True, capture_output=True)
    run_night(Settings(input=SAMPLE, output=tmp_path / "checkout" / "output", as_of=AS_OF))
    for table in ("invoices", "invoice_lines", "rejected_rows", "runs"):
        expected = rows(tmp_path / "checkout", f"from {table} order by all")
        assert rows(tmp_path / "wheel", f"from {table} order by all") == expected
    assert rows(tmp_path / "wheel", "select count(*) > 0 from invoices") == [(True,)]
