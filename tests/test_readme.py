"""What the README and the table of stages say is what happens."""

import doctest
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.folders import timeless
from usage_rating.cli import app
from usage_rating.stages import Stage, all_stages

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS: list[str] = re.findall(r"```console\n(.*?)```", README, re.DOTALL)


def _block_with(command: str) -> str:
    (block,) = (block for block in BLOCKS if command in block)
    return block


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks like a checkout in which `make run` has run."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "data").symlink_to(ROOT / "data")
    (folder / "flows").symlink_to(ROOT / "flows")
    (folder / "make_run.txt").write_text(_run(_made_by("run"), folder), encoding="utf-8")
    return folder


def _made_by(target: str) -> list[str]:
    recipe = re.search(rf"^{target}:.*\n\t(.*)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert recipe
    return recipe[1].replace("$(BIN)/python", sys.executable).split()


def _run(command: list[str], folder: Path) -> str:
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=600)
    assert (run.returncode, run.stderr) == (0, "")
    return "\n".join(line.rstrip() for line in run.stdout.rstrip().splitlines())


def test_make_run_prints_what_the_readme_shows(folder: Path) -> None:
    _, shown_command, *shown = _block_with("make run").splitlines()
    assert shown_command.replace(".venv/bin/python", sys.executable).split() == _made_by("run")
    assert timeless("\n".join(shown)) == timeless((folder / "make_run.txt").read_text(encoding="utf-8"))
    assert "…" in timeless("\n".join(shown)), "the figures that differ from run to run are shown"


def test_the_worked_invoice_is_what_the_session_prints(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    session = _block_with("import duckdb").partition("\n")[2]
    test = doctest.DocTestParser().get_doctest(session, {}, "README", "README.md", 0)
    results = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test)
    assert (results.attempted, results.failed) == (5, 0)


def test_the_export_writes_what_the_readme_shows(folder: Path) -> None:
    command, *shown = _block_with("usage-rating export").splitlines()
    words = command.removeprefix("$ .venv/bin/usage-rating ").split()
    assert _run([str(Path(sys.executable).parent / "usage-rating"), *words], folder).splitlines() == shown


@pytest.mark.parametrize("stage", all_stages(), ids=lambda stage: str(stage.name))
def test_the_table_of_stages_follows_the_heads(stage: Stage) -> None:
    table = (ROOT / "sql" / "README.md").read_text(encoding="utf-8")
    assert f"| `{stage.number:03}_{stage.name}` | {stage.summary} | {', '.join(stage.reads)} |\n" in table


def test_every_command_is_in_the_readme() -> None:
    shown = re.findall(r"^\| `(\w+)` \| ", README.partition("## Every night")[2].partition("\n## ")[0], re.MULTILINE)
    known = {command.name or getattr(command.callback, "__name__", "") for command in app.registered_commands}
    assert {"run", *shown} == known


def test_links_of_the_readme_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []
