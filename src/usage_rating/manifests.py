"""The manifests: for each run that counted one small file that says what it took in and what it wrote, by hash.

Each names the hash of the one before, and holds its own, so that a changed, lost or exchanged one is seen. Together
they tell what an output folder must hold; a run adds one and changes none.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import date
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from usage_rating.errors import BadInput

FOLDER = "manifests"
SEAL = re.compile(r',\n "sha256": "(?P<sha256>[0-9a-f]{64})"\n}\n\Z')  # of all that stands before it


@dataclass(frozen=True)
class InputRecord:
    """An input file that was taken in, so that it is known again; `rows` is 0 where its bytes were known already.

    `kept_as` names what is kept of it in a night's folder, if it is large: a copy, or its typed rows. It is empty, and
    left out of the manifest, where its rows were put with those of other files.
    """

    feed: str
    name: str
    bytes: int
    modified_ns: int
    sha256: str
    run_number: int
    rows: int
    kept_as: str = ""


@dataclass(frozen=True)
class Manifest:
    """What one run took in and wrote: files by name and hash, also those it wrote anew.

    `gathered` names files of earlier runs that are gone from this night on, as one of its own files has their rows; it
    is left out of the manifest where there are none.
    """

    run_number: int = 0
    as_of: str = ""
    previous: str = ""
    inputs: tuple[InputRecord, ...] = ()
    rate_cards: dict[str, str] = field(default_factory=dict)
    policies: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    gathered: tuple[str, ...] = ()

    @property
    def run_id(self) -> str:
        """The run's name in the published tables."""
        return run_id(self.run_number)

    @property
    def name(self) -> str:
        """Where it lies in a night's folder."""
        return f"{FOLDER}/{self.run_id}.json"

    @cached_property
    def sha256(self) -> str:
        """The hash of what it says, by which the next one names it."""
        return _hash(_text(self._said()))

    def to_json(self) -> str:
        """The manifest's file; the same run always has the same."""
        return _text(self._said() | {"sha256": self.sha256})

    def _said(self) -> dict[str, Any]:
        said = asdict(self)
        for record in said["inputs"]:
            if not record["kept_as"]:
                del record["kept_as"]  # as manifests were before large files were kept by themselves
        if not said["gathered"]:
            del said["gathered"]
        return said


@dataclass(frozen=True)
class Chain:
    """The manifests from the first run to the last."""

    manifests: tuple[Manifest, ...] = ()

    @property
    def last(self) -> Manifest:
        """The last run's, or an empty one before the first."""
        return self.manifests[-1] if self.manifests else Manifest()

    @property
    def as_of(self) -> date | None:
        """The date billed up to; None before the first run."""
        return date.fromisoformat(self.last.as_of) if self.manifests else None

    @cached_property
    def inputs(self) -> tuple[InputRecord, ...]:
        """Every input file ever taken in."""
        return tuple(record for manifest in self.manifests for record in manifest.inputs)

    @cached_property
    def files(self) -> dict[str, str]:
        """Every file of the last night, by name, with the hash it was last written with."""
        files: dict[str, str] = {}
        for manifest in self.manifests:
            files.update(manifest.files)
            for name in manifest.gathered:
                del files[name]
        return files

    def until(self, run_number: int) -> "Chain":
        """The chain as it was after a run."""
        return Chain(self.manifests[:run_number])


def run_id(run_number: int) -> str:
    """Numbers as text that sorts: the seventh run is 000007."""
    return f"{run_number:06d}"


def read_chain(night: Path) -> Chain:
    """Reads a night's manifests and holds each against the next.

    :raises BadInput: naming each that is damaged or missing
    """
    paths = sorted((night / FOLDER).glob("*.json"))
    manifests = [(path, read_manifest(path)) for path in paths]
    faults = [f"{path}: is damaged." for path, manifest in manifests if manifest is None]
    whole = [(path, manifest) for path, manifest in manifests if manifest is not None]
    if not faults:
        faults += list(_breaks(whole, night))
    if faults:
        raise BadInput(f"{fault} `usage-rating doctor` says what it means and what can be rebuilt." for fault in faults)
    return Chain(tuple(manifest for _, manifest in whole))


def _breaks(manifests: list[tuple[Path, Manifest]], night: Path) -> Iterator[str]:
    numbers = [manifest.run_number for _, manifest in manifests]
    for number in range(1, int(night.name) + 1):
        if number not in numbers:
            yield f"{night / FOLDER / run_id(number)}.json: is missing."
    for (path, manifest), (_, following) in pairwise(manifests):
        if following.run_number == manifest.run_number + 1 and following.previous != manifest.sha256:
            yield f"{path}: is not the one that the next run followed."


def read_manifest(path: Path) -> Manifest | None:
    """One manifest; None where the file is not, to the byte, what a run wrote."""
    try:
        text = path.read_text(encoding="utf-8")
        if not (seal := SEAL.search(text)) or _hash(f"{text[: seal.start()]}\n}}\n") != seal["sha256"]:
            return None
        said: dict[str, Any] = json.loads(text)
        del said["sha256"]
        inputs = tuple(InputRecord(**record) for record in said["inputs"])
        manifest = Manifest(**said | {"inputs": inputs, "gathered": tuple(said.get("gathered", ()))})
    except (OSError, ValueError, TypeError, KeyError):
        return None
    vars(manifest)["sha256"] = seal["sha256"]  # to write all of a year's once more takes half a second
    return manifest if path.stem == manifest.run_id else None


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _text(said: dict[str, Any]) -> str:
    return json.dumps(said, indent=1, sort_keys=True) + "\n"
