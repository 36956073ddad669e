"""Reads the YAML files of `rate_cards/`: data only, and every fault with its file, line and place."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from usage_rating.errors import BadInput
from usage_rating.input_files import paths_below
from usage_rating.rate_cards import Place, RateCard

SUFFIXES = (".yaml", ".yml")
NO_TEXT = "?"  # in a place, a key that is no text
MERGE_KEY = "<<"
KINDS = "recurring, peak, usage"
WORDS = {
    "dict_type": "expected keys and their values",
    "model_type": "expected keys and their values",
    "model_attributes_type": "expected keys and their values",
    "list_type": "expected a list",
    "invalid_key": "a key is not text; put it in quotes",
    "string_type": "expected text; put it in quotes",
    "int_type": "expected a whole number",
    "too_short": "is empty",
}
SHARED = ("currency", "time_zone", "cycle", "settlement")


@dataclass(frozen=True)
class CardFile:
    """A card version, and the file it stands in."""

    name: str
    sha256: str
    card: RateCard


def read_rate_cards(folder: Path) -> list[CardFile]:
    """Reads every `.yaml` and `.yml` below `folder`, sorted by card and the day from which a version holds.

    :raises BadInput: every fault of every file, and of the versions of a card against each other
    """
    faults: list[str] = []
    paths = _cards_in(folder, faults)
    if not paths and not faults:
        raise BadInput(["rate_cards/: no file. At least one rate card must exist, as rate_cards/NAME.v1.yaml."])
    cards: list[CardFile] = []
    for path in paths:
        name = f"{folder.name}/{path.relative_to(folder).as_posix()}"
        try:
            cards.append(_read(path, name))
        except BadInput as error:
            faults += error.faults
    cards.sort(key=lambda file: (file.card.rate_card, file.card.effective_from, file.card.version, file.name))
    faults += _faults_between(cards)
    if faults:
        raise BadInput(faults)
    return cards


def _cards_in(folder: Path, faults: list[str]) -> list[Path]:
    """The files of the cards; a version passed over in silence would leave its cycles to an older price."""
    cards = []
    for path in paths_below(folder, folder.parent, faults):
        name = f"{folder.name}/{path.relative_to(folder).as_posix()}"
        try:
            is_folder, is_file = path.is_dir(), path.is_file()
        except PermissionError as error:
            faults.append(f"{name!r}: cannot be read: {error.strerror}.")
            continue
        if is_folder and path.is_symlink():
            faults.append(f"{name}: a link to a folder is not followed. Put the files themselves here.")
        elif is_file and path.suffix in SUFFIXES:
            cards.append(path)
        elif not is_folder and path.suffix in SUFFIXES:
            faults.append(f"{name!r}: not a regular file. Put the rate card itself here.")
    return cards


def _read(path: Path, name: str) -> CardFile:
    try:
        data = path.read_bytes()
        text = data.decode("utf-8-sig")
        _refuse_aliases(text, name)
        document = YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise BadInput([f"{name}: {line}{error.problem or error}."]) from None
    except (PermissionError, UnicodeDecodeError, YAMLError, ValueError, TypeError) as error:
        raise BadInput([f"{name}: cannot be read: {error}."]) from None
    known_keys: dict[int, list[str]] = {}
    try:
        card = RateCard.model_validate(document, context=known_keys)
    except ValidationError as error:
        lines = _lines_of(text)
        raise BadInput(_said(name, fault, document, known_keys, lines) for fault in error.errors()) from None
    if card.amounts_too_fine:
        lines = _lines_of(text)
        raise BadInput(
            f"{name}: line {_line_of(place, lines)}: {'.'.join(map(str, place))}: {amount} is finer than "
            f"{card.currency}, which has {card.minor_digits} decimals."
            for place, amount in card.amounts_too_fine
        )
    return CardFile(name, hashlib.sha256(data).hexdigest(), card)


def _refuse_aliases(text: str, name: str) -> None:
    """An alias makes two prices out of one place: whoever edits the one does not see the other."""
    if not any(mark in text for mark in ("&", "*", MERGE_KEY)):
        return  # no need of going through it once more
    faults = [
        f"{name}: line {event.start_mark.line + 1}: YAML anchors, aliases and merge keys are refused; write it out."
        for event in YAML(typ="safe", pure=True).parse(text)
        if isinstance(event, AliasEvent) or getattr(event, "anchor", None) or getattr(event, "value", None) == MERGE_KEY
    ]
    if faults:
        raise BadInput(faults)


def _lines_of(text: str) -> dict[Place, int]:
    """Where each key and item of a document stands."""
    return dict(_lines(YAML(typ="safe", pure=True).compose(text), ()))


def _lines(node: Node, place: Place) -> Iterator[tuple[Place, int]]:
    if node is None:
        return
    yield place, node.start_mark.line + 1
    if isinstance(node, MappingNode):
        for key, value in node.value:
            inside = (*place, key.value if isinstance(key.value, str) else NO_TEXT)
            yield inside, key.start_mark.line + 1
            yield from ((inner, line) for inner, line in _lines(value, inside) if inner != inside)
    elif isinstance(node, SequenceNode):
        for number, item in enumerate(node.value):
            yield from _lines(item, (*place, number))


def _said(name: str, fault: Any, document: object, known_keys: dict[int, list[str]], lines: dict[Place, int]) -> str:
    """One fault in the product's words. Pydantic's location has union tags in it that the file has not."""
    place, part, parent = _place_in(document, fault["loc"])
    line = _line_of(place, lines)
    where = f"{name}: line {line}: " + (f"{'.'.join(map(str, place))}: " if place else "")
    if fault["type"] == "extra_forbidden":
        known = ", ".join(known_keys.get(id(parent), []))
        key = fault["loc"][-1]
        inside = ".".join(map(str, place[:-1]))
        where = f"{name}: line {line}: " + (f"{inside}: " if inside else "")
        return f"{where}unknown key '{key}'.\n    Known keys: {known}."
    if fault["type"] == "missing":
        return f"{where}lacks the key '{fault['loc'][-1]}'."
    if fault["type"].startswith("union_tag"):
        kinds = fault["ctx"].get("expected_tags", KINDS).replace("'", "")
        said = (
            f"kind: '{fault['ctx']['tag']}' is not one of" if "tag" in fault["ctx"] else "lacks the key 'kind', one of"
        )
        return f"{where}{said} {kinds}."
    message = WORDS.get(fault["type"], fault["msg"].removeprefix("Value error, "))
    if fault["type"] == "literal_error":
        message = f"'{part}' is not {fault['ctx']['expected']}"
    shown = "" if isinstance(part, dict | list) or "'" in message else f"; got {part!r}"
    return f"{where}{message}{shown}."


def _line_of(place: Place, lines: dict[Place, int]) -> int:
    """The line of a place, or of the nearest one around it."""
    place = tuple(step if isinstance(step, str | int) else NO_TEXT for step in place)
    whole = [place[:end] for end in range(len(place), -1, -1)]
    return next((lines[said] for part in whole for said in (part, tuple(map(str, part))) if said in lines), 1)


def _place_in(document: object, location: Sequence[str | int]) -> tuple[Place, object, object]:
    place: Place = ()
    part: Any = document
    parent: object = None
    for step in location:
        keys = part if isinstance(part, dict) else range(len(part)) if isinstance(part, list) else ()
        if step in keys:
            place, part, parent = (*place, step), part[step], part
    return place, part, parent


def _faults_between(cards: Iterable[CardFile]) -> list[str]:
    faults = []
    for name, group in groupby(cards, key=lambda file: file.card.rate_card):
        versions = list(group)
        first = versions[0]
        for earlier, later in pairwise(versions):
            if earlier.card.effective_from == later.card.effective_from:
                faults.append(
                    f"{later.name}: effective_from: {later.card.effective_from} is also the day of {earlier.name}; "
                    f"each version of {name} needs a day of its own."
                )
            faults += [
                f"{later.name}: {key}: {_shown(later.card, key)} is not {_shown(first.card, key)} as in {first.name}. "
                f"Versions of {name} share {', '.join(SHARED)}; use a new rate card for another."
                for key in SHARED
                if _terms(later.card, key) != _terms(first.card, key)
            ]
        numbers: dict[int, str] = {}
        for file in versions:
            if file.card.version in numbers:
                faults.append(
                    f"{file.name}: version: {file.card.version} of {name} is also in {numbers[file.card.version]}."
                )
            numbers.setdefault(file.card.version, file.name)
    return faults


def _terms(card: RateCard, key: str) -> object:
    return card.cycle.terms if key == "cycle" else getattr(card, key)


def _shown(card: RateCard, key: str) -> str:
    if key != "cycle":
        return str(getattr(card, key))
    length, unit, anchor, first_cycle_from = card.cycle.terms
    return f"{length} {unit} from {anchor}" + (f"/{first_cycle_from}" if anchor == "calendar" else "")
