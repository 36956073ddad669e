"""`doctor`: finds every damaged or missing file of an output folder, says what each means, and rebuilds what it can.

What must be there is told by the manifests alone. Lost Parquet files are rebuilt by running the nights once more, from
the input files that the manifests name, into a folder of their own; what comes out with the right hash is taken.
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from usage_rating.approvals import FEED as APPROVALS
from usage_rating.errors import BadInput
from usage_rating.files import hash_of, private_files, put, sync
from usage_rating.manifests import FOLDER as MANIFESTS
from usage_rating.manifests import Chain, InputRecord, Manifest, read_manifest
from usage_rating.night import run_night
from usage_rating.settings import Settings
from usage_rating.store import LINKED, Store
from usage_rating.views import rewrite_views_of

MISSING, CHANGED = "is missing", "is not as it was written"


@dataclass(frozen=True)
class Damage:
    """A file or link that is not as it should be, what hangs on it, and whether it was mended."""

    path: Path
    what: str
    means: str
    is_mended: bool = False

    def __str__(self) -> str:
        """As the person who has to act on it reads it."""
        return f"{self.path}: {self.what}{', mended now' if self.is_mended else ''}. {self.means}"


def examine(output: Path, input_folder: Path | None) -> list[Damage]:
    """Reads everything that is kept and published once more, and the input files it was made from.

    :param input_folder: where the input files lie; None: they are left out
    :returns: one entry for each file, link or manifest that is damaged, missing or not ours; empty: all is well
    :raises BadInput: there is no output folder
    """
    if not (output / "nights").is_dir():
        raise BadInput([f"{output}: holds no published night."])
    examination = Examination(output)
    found = [*examination.of_links(), *examination.of_manifests()]
    for night in examination.nights():
        found += examination.of_night(night)
    if input_folder:
        found += inputs_damaged(examination.chain, input_folder)
    found += inputs_damaged(examination.chain, output, is_approval=True)
    return found


class Examination:
    """One look at an output folder. A file with several names is read once."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self.chain = whole_chain(output)
        self._hashes: dict[tuple[int, int], str] = {}

    def nights(self) -> list[Path]:
        """The folders of the nights that are still kept, and count."""
        last = self.chain.last.run_number
        folders = sorted((self.output / "nights").glob("[0-9]*"))
        return [night for night in folders if int(night.name) <= last]

    def of_links(self) -> Iterator[Damage]:
        """The link to the last night, and those of the tables."""
        for link, target in links_of(self.output, self.chain).items():
            if not link.is_symlink():
                yield Damage(link, MISSING, meaning_of_link(link))
            elif link.readlink() != target:
                yield Damage(link, f"leads to {link.readlink()}, not to {target}", meaning_of_link(link))

    def of_manifests(self) -> Iterator[Damage]:
        """Every copy of every run's manifest: those of the nights, and the one beside them."""
        means = "It says what a run took in and wrote; a copy takes its place."
        for manifest in self.chain.manifests:
            nights = (night for night in self.nights() if int(night.name) >= manifest.run_number)
            for path in (folder / manifest.name for folder in (*nights, self.output)):
                if read_manifest(path) != manifest:
                    yield Damage(path, CHANGED if path.exists() else MISSING, means)

    def of_night(self, night: Path) -> Iterator[Damage]:
        """A night's own files: those that must be there, and those that must not."""
        expected = self.chain.until(int(night.name)).files
        for name, sha256 in sorted(expected.items()):
            path = night / name
            if not path.is_file():
                yield Damage(path, MISSING, meaning_of(name))
            elif self.hash_of(path) != sha256:
                yield Damage(path, CHANGED, meaning_of(name))
        views, said = night / "billing.duckdb", night / "billing.sha256"
        if not views.is_file() or not said.is_file() or hash_of(views) != said.read_text("utf-8", errors="replace"):
            means = "It holds views alone: `usage-rating views` writes it anew."
            yield Damage(views, CHANGED if views.is_file() else MISSING, means)
        ours = {*expected, "billing.duckdb", "billing.sha256"}
        for path in sorted(night.rglob("*")):
            name = path.relative_to(night).as_posix()
            if path.is_file() and name not in ours and not name.startswith(f"{MANIFESTS}/"):
                yield Damage(path, "was not written by a run", "Readers of the folder may take it for published.")

    def hash_of(self, path: Path) -> str:
        """A file's hash."""
        stat = path.stat()
        key = (stat.st_dev, stat.st_ino)
        if key not in self._hashes:
            self._hashes[key] = hash_of(path)
        return self._hashes[key]


def whole_chain(output: Path) -> Chain:
    """The manifests, each from whichever of its copies is whole.

    :raises BadInput: of one no copy is: nothing that it and later ones say can be trusted
    """
    nights = sorted((output / "nights").glob("[0-9]*"), reverse=True)
    current = output / "current"
    leads_to = current.resolve().name if current.exists() else ""
    last = int(leads_to) if leads_to.isdecimal() else max((int(night.name) for night in nights), default=0)
    manifests: list[Manifest] = []
    for number in range(1, last + 1):
        name = Manifest(run_number=number).name
        copies = (read_manifest(folder / name) for folder in (current, *nights, output))
        previous = manifests[-1].sha256 if manifests else ""
        whole = [copy for copy in copies if copy and copy.previous == previous]
        if not whole:
            raise BadInput(
                [
                    f"{output / name}: is damaged or missing, and so is its copy in the night's folder. Nothing says "
                    "what this run took in and issued: restore the output folder from a backup."
                ]
            )
        manifests.append(whole[0])
    return Chain(tuple(manifests))


def links_of(output: Path, chain: Chain) -> dict[Path, Path]:
    """Every link that must be there, and what it must lead to."""
    tables = {output / name: Path("current") / name for name in LINKED}
    return {output / "current": Path("nights") / chain.last.run_id} | tables


def meaning_of_link(link: Path) -> str:
    """What hangs on a link."""
    if link.name == "current":
        return "It says which night counts: no run can begin, no reader sees anything."
    return "Readers find nothing there."


def meaning_of(name: str) -> str:
    """What hangs on a file of a night."""
    folder, of_run = Path(name).parent.name, Path(name).stem
    if folder.endswith("_files"):
        number = of_run.partition("_")[0]
        return f"It keeps a large input file of run {number}, on which every later run builds: none can begin."
    whose = f"run {of_run} and those before it that have no file" if of_run.isdecimal() else "the last run"
    if name.startswith("kept/"):
        return f"It keeps the {folder} of {whose}, on which every later run builds: none can begin without it."
    if of_run == folder:
        return f"It is the whole table {folder}: readers see wrong or no rows, and no run can begin."
    return f"It holds what {whose} published in {folder}: readers see wrong or no rows, and no run can begin."


def inputs_damaged(chain: Chain, folder: Path, *, is_approval: bool = False) -> Iterator[Damage]:
    """Input files that are not there any more as they were taken in: exports, or approvals."""
    newest = {record.name: record for record in chain.inputs if (record.feed == APPROVALS) == is_approval}
    for name, record in sorted(newest.items()):
        path = folder / name
        means = f"Run {record.run_number} took it in; what it said is kept, and could not be rebuilt from here."
        if not path.is_file():
            yield Damage(path, MISSING, means)
        elif hash_of(path) != record.sha256:
            yield Damage(path, "has other bytes than were taken in", means)


# ---- mending


def mend(output: Path, input_folder: Path | None, announce: Callable[[str], None] = lambda step: None) -> list[Damage]:
    """Mends what can be: links and manifests from their copies, views anew, Parquet files from the input files.

    A file is only put in place where its hash is the one that the manifest gives.

    :returns: what was found, each with whether it is as it should be now
    :raises OutputHeld: a run is at work
    :raises BadInput: there is no output folder, or a manifest is lost with all its copies
    """
    store = Store(output)
    with private_files(), store.locked():
        found = examine(output, input_folder)
        chain = whole_chain(output)
        _mend_links(output, chain)
        _mend_manifests(output, chain)
        lost = _files_lost(output, chain, found)
        if lost and input_folder:
            _rebuild(output, chain, input_folder, lost, announce)
        _mend_views(output, chain)
        left = {damage.path for damage in examine(output, input_folder)}
    return [Damage(damage.path, damage.what, damage.means, is_mended=damage.path not in left) for damage in found]


def _mend_links(output: Path, chain: Chain) -> None:
    for link, target in links_of(output, chain).items():
        aside = link.with_name(f".{link.name}")
        if link.is_symlink() and link.readlink() == target:
            continue
        if link.exists() and not link.is_symlink():
            continue  # somebody put something of their own there: it stays, and is named
        aside.unlink(missing_ok=True)
        aside.symlink_to(target)
        aside.replace(link)
    sync(output)


def _mend_manifests(output: Path, chain: Chain) -> None:
    manifests = {manifest.name: manifest for manifest in chain.manifests}
    for damage in Examination(output).of_manifests():
        aside = damage.path.with_suffix(".new")
        aside.parent.mkdir(exist_ok=True)
        aside.write_text(manifests[f"{MANIFESTS}/{damage.path.name}"].to_json(), encoding="utf-8")
        put(aside, damage.path)


def _mend_views(output: Path, chain: Chain) -> None:
    """Views over a file that is still lost cannot be made."""
    examination = Examination(output)
    for night in examination.nights():
        damaged = {damage.path.name for damage in examination.of_night(night)}
        if damaged == {"billing.duckdb"}:
            rewrite_views_of(night.resolve(), list(chain.until(int(night.name)).files))


def _files_lost(output: Path, chain: Chain, found: list[Damage]) -> dict[tuple[str, str], list[Path]]:
    """Each lost file by name and hash, and all places where it must stand."""
    lost: dict[tuple[str, str], list[Path]] = {}
    for path in (damage.path for damage in found if damage.path.is_relative_to(output / "nights")):
        night, *below = path.relative_to(output / "nights").parts
        name, expected = "/".join(below), chain.until(int(night)).files
        if name in expected:
            lost.setdefault((name, expected[name]), []).append(path)
    return lost


def _rebuild(
    output: Path,
    chain: Chain,
    input_folder: Path,
    lost: dict[tuple[str, str], list[Path]],
    announce: Callable[[str], None],
) -> None:
    """Runs the nights again, one by one, and takes each lost file as it comes out."""
    sources = _sources(input_folder) | _sources(output, APPROVALS)
    _put_back_originals(chain, sources, lost)
    with TemporaryDirectory(dir=output, prefix=".doctor-") as folder:
        scratch = Path(folder)
        for manifest in chain.manifests:
            if not lost:
                return
            announce(f"run {manifest.run_id} once more")
            if not _lay_out(manifest, scratch / "input", sources) or not _run_again(manifest, scratch):
                return
            for name, sha256 in lost.keys() & set(manifest.files.items()):
                made = scratch / "output" / "current" / name
                if made.is_file() and hash_of(made) == sha256:
                    _put_everywhere(made, lost.pop((name, sha256)))


def _put_back_originals(
    chain: Chain, sources: dict[tuple[str, str], Path], lost: dict[tuple[str, str], list[Path]]
) -> None:
    """An input file that was copied needs no run."""
    for record in chain.inputs:
        source = sources.get((record.feed, record.sha256))
        if source and (record.kept_as, record.sha256) in lost:
            _put_everywhere(source, lost.pop((record.kept_as, record.sha256)))


def _run_again(manifest: Manifest, scratch: Path) -> bool:
    """Whether the run could be done again; with other code its files may come out with other hashes."""
    settings: dict[str, Any] = {
        "input": scratch / "input",
        "output": scratch / "output",
        "as_of": manifest.as_of,
        "max_rejected": 1,
        "allow_missing_final_newline": True,
    }
    try:
        return run_night(Settings.model_validate(settings | manifest.policies)).run_id == manifest.run_id
    except BadInput:
        return False


def _sources(folder: Path, below: str = "") -> dict[tuple[str, str], Path]:
    """The input files there are, by feed and hash: one may have been renamed since."""
    files = [path for path in sorted((folder / below).rglob("*")) if path.is_file()]
    return {(path.relative_to(folder).parts[0], hash_of(path)): path for path in files}


def _lay_out(manifest: Manifest, folder: Path, sources: dict[tuple[str, str], Path]) -> bool:
    """Makes an input folder as a run found it; False where an input file or a rate card is not to be had any more."""
    shutil.rmtree(folder / "rate_cards", ignore_errors=True)
    needed = {_place(folder, record): (record.feed, record.sha256) for record in manifest.inputs}
    for number, sha256 in enumerate(sorted(manifest.rate_cards.values())):
        needed[folder / "rate_cards" / f"{number}.yaml"] = ("rate_cards", sha256)
    if not sources.keys() >= set(needed.values()):
        return False
    for path, source in needed.items():
        _link(path, sources[source])
    return True


def _place(folder: Path, record: InputRecord) -> Path:
    """Approvals are an output folder's own."""
    return (folder.with_name("output") if record.feed == APPROVALS else folder) / record.name


def _link(path: Path, source: Path) -> None:
    """No symbolic link: a run does not follow one out of its input folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    try:
        path.hardlink_to(source.resolve())
    except OSError:  # another file system
        shutil.copy2(source, path)


def _put_everywhere(made: Path, places: list[Path]) -> None:
    """The same bytes under every name, as before: the nights share what did not change."""
    first = places[0]
    aside = first.with_suffix(".new")
    aside.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(made, aside)
    put(aside, first)
    for place in places[1:]:
        aside = place.with_suffix(".new")
        aside.parent.mkdir(parents=True, exist_ok=True)
        aside.hardlink_to(first)
        put(aside, place)
