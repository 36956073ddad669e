"""The manifests: the chain of hashes, and every file of the last night against its own."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class InputRecord:
    """An input file that a run took in."""

    feed: str
    name: str
    sha256: str
    run_number: int
    rows: int


@dataclass(frozen=True)
class Manifest:
    """What one run took in and wrote."""

    run_number: int
    as_of: str
    sha256: str
    previous: str
    inputs: tuple[InputRecord, ...]
    rate_cards: dict[str, str]
    policies: dict[str, str]
    files: dict[str, str]
    gathered: tuple[str, ...]

    @property
    def run_id(self) -> str:
        """The run's name in the published tables."""
        return f"{self.run_number:06d}"


@dataclass
class Chain:
    """The manifests in order, the night's folder, and what is wrong with them."""

    night: Path
    manifests: list[Manifest] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)

    def files(self) -> dict[str, str]:
        """Every file of the last night, with the hash it was last written with."""
        files: dict[str, str] = {}
        for manifest in self.manifests:
            files |= manifest.files
            for name in manifest.gathered:
                files.pop(name, None)
        return files


def read_chain(output: Path) -> Chain:
    """The last night's manifests, each held against its own hash and the one before."""
    night = (output / "current").resolve()
    chain = Chain(night)
    before = ""
    for number, path in enumerate(sorted((night / "manifests").glob("*.json")), start=1):
        manifest = _read(path, chain.damage)
        if manifest is None:
            continue
        if manifest.run_number != number or path.stem != manifest.run_id:
            chain.damage.append(f"manifests/{path.name}: is not the manifest of run {number}; one is missing.")
        if manifest.previous != before:
            chain.damage.append(f"manifests/{path.name}: does not follow the manifest before it.")
        before = manifest.sha256
        chain.manifests.append(manifest)
    if night.name.isdigit() and chain.manifests and chain.manifests[-1].run_number != int(night.name):
        chain.damage.append(f"manifests/: the last one is not that of night {night.name}.")
    return chain


def check_files(chain: Chain) -> int:
    """Every file of the night against the manifests, and that no published file is there beside them; how many."""
    files = chain.files()
    for name, expected in sorted(files.items()):
        path = chain.night / name
        if not path.is_file():
            chain.damage.append(f"{name}: is missing.")
        elif _sha256(path.read_bytes()) != expected:
            chain.damage.append(f"{name}: is not as the run wrote it.")
    for path in sorted(chain.night.glob("*/*.parquet")):
        name = path.relative_to(chain.night).as_posix()
        if name not in files:
            chain.damage.append(f"{name}: was written by no run.")
    return len(files)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read(path: Path, damage: list[str]) -> Manifest | None:
    try:
        said: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        own = said.pop("sha256")
        if _sha256((json.dumps(said, indent=1, sort_keys=True) + "\n").encode()) != own:
            damage.append(f"manifests/{path.name}: does not have its own hash.")
        records = (InputRecord(i["feed"], i["name"], i["sha256"], i["run_number"], i["rows"]) for i in said["inputs"])
        return Manifest(
            said["run_number"],
            said["as_of"],
            own,
            said["previous"],
            tuple(records),
            said["rate_cards"],
            said["policies"],
            said["files"],
            tuple(said.get("gathered", ())),
        )
    except (OSError, ValueError, KeyError, TypeError) as fault:
        damage.append(f"manifests/{path.name}: cannot be read ({type(fault).__name__}).")
        return None
