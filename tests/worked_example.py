"""Reads a worked-example page, lays out its input folder, and compares a table with what the page expects.

A page is one Markdown file; worked_examples/README.md says how one is written. Cells are text as written:
an empty cell is a missing value in an input table and NULL in an expected one. Nothing here knows how a
figure is worked out, and nothing here can write an expected table.
"""

import csv
import io
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

FEEDS = (
    "accounts",
    "subscriptions",
    "cart_events",
    "cart_snapshots",
    "usage",
    "spending_limits",
    "one_off_charges",
    "credit_topups",
)
REASON, ARITHMETIC = "**Reason.**", "**By hand.**"
_HEADING = re.compile(
    r"(?P<kind>rate card|given|as of|expect)"
    r"(?:: (?P<name>[\w.-]+)(?: in (?P<file>\S+))?(?P<among>, among others)?)?"
)
_CELL_BORDER = re.compile(r"(?<!\\)\|")


class PageFaultError(ValueError):
    """A page that is not written as README.md says; the text names the page and the place."""


@dataclass(frozen=True)
class MarkdownTable:
    """A table as the page shows it: column names and cells, all text."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def as_csv(self) -> str:
        """The table as the text of a CSV file with a header and a final newline."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([self.columns, *self.rows])
        return text.getvalue()


@dataclass(frozen=True)
class Expectation:
    """What a page expects of one stage or published table: the columns it lists, and its rows.

    `among_others` says that further rows may be there; otherwise the rows are exactly these, in any order.
    """

    relation: str
    table: MarkdownTable
    among_others: bool = False


@dataclass(frozen=True)
class PageNight:
    """One nightly run of a page: the files that arrive before it (path in the input folder to text), the
    date it bills up to, the policies it runs with, and what must be there afterwards."""

    as_of: date
    policies: Mapping[str, Any]
    files: Mapping[str, str]
    expectations: tuple[Expectation, ...]


@dataclass(frozen=True)
class WorkedExample:
    """A whole page. `name` is its file name without the ending, `title` its first line."""

    name: str
    title: str
    nights: tuple[PageNight, ...]


@dataclass(frozen=True)
class _Section:
    heading: str
    body: str
    kind: str
    name: str
    file: str
    among_others: bool


def read_page(path: Path) -> WorkedExample:
    """Reads one page. PageFaultError where it is not written as README.md says."""
    try:
        preamble, *parts = re.split(r"^## ", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        return WorkedExample(path.stem, _title(preamble, path.stem), tuple(_nights(parts, path.parent)))
    except (PageFaultError, ValueError, OSError) as fault:
        raise PageFaultError(f"{path.name}: {fault}") from fault


def _title(preamble: str, name: str) -> str:
    title = preamble.partition("\n")[0].removeprefix("# ").strip()
    in_kebab_case = re.sub(r"[^a-z0-9]+", "-", title.lower().replace("'", "")).strip("-")
    if in_kebab_case != name:
        raise PageFaultError(f"the title and the file name differ: the title asks for {in_kebab_case}.md")
    for part in (REASON, ARITHMETIC):
        if part not in preamble:
            raise PageFaultError(f"above the first '## ' there is no paragraph that begins with {part}")
    return title


def _nights(parts: Sequence[str], folder: Path) -> Iterator[PageNight]:
    """Cuts the sections into nights: what is given, `as of`, what is expected, and over again."""
    sections = [_section(part) for part in parts]
    as_ofs = [index for index, section in enumerate(sections) if section.kind == "as of"]
    if not as_ofs:
        raise PageFaultError("no '## as of: DATE' on the page")
    begin, taken = 0, set[str]()
    for index in as_ofs:
        as_of = date.fromisoformat(sections[index].name)
        end = index + 1
        while end < len(sections) and sections[end].kind == "expect":
            end += 1
        files = dict(_file(section, as_of, folder) for section in sections[begin:index])
        expectations = tuple(
            Expectation(section.name, read_table(section.body, section.heading), section.among_others)
            for section in sections[index + 1 : end]
        )
        if len(files) < index - begin or taken & files.keys():
            raise PageFaultError(f"as of {as_of}: a file is given twice; name it with '## given: FEED in FILE'")
        if not expectations:
            raise PageFaultError(f"as of {as_of}: nothing is expected")
        taken |= files.keys()
        begin = end
        yield PageNight(as_of, _policies(sections[index]), files, expectations)
    if begin < len(sections):
        raise PageFaultError(f"'## {sections[begin].heading}' is followed by no '## as of: DATE'")


def _policies(section: _Section) -> dict[str, Any]:
    block = re.search(r"^```toml\n(.*?)^```$", section.body, flags=re.MULTILINE | re.DOTALL)
    return tomllib.loads(block[1]) if block else {}


def _section(part: str) -> _Section:
    heading, _, body = part.partition("\n")
    match = _HEADING.fullmatch(heading.strip())
    if match is None or (match["name"] is None and match["kind"] != "rate card"):
        raise PageFaultError(
            f"unknown heading '## {heading}'. Known: '## rate card', '## rate card: NAME', '## given: FEED', "
            "'## given: FEED in FILE', '## as of: DATE', '## expect: TABLE', '## expect: TABLE, among others'"
        )
    return _Section(heading, body, match["kind"], match["name"] or "", match["file"] or "", match["among"] is not None)


def _file(section: _Section, as_of: date, folder: Path) -> tuple[str, str]:
    """The path and text of the file that a `given` or `rate card` section stands for."""
    if section.kind == "given":
        if section.name not in FEEDS:
            raise PageFaultError(f"'## {section.heading}': no such feed. Known: {', '.join(FEEDS)}")
        path = f"{section.name}/{section.file or f'{as_of}.csv'}"
        return path, read_table(section.body, section.heading).as_csv()
    if section.kind == "expect":
        raise PageFaultError(f"'## {section.heading}' stands before the '## as of: DATE' it belongs to")
    if section.name:
        return f"rate_cards/{section.name}.yaml", (folder / f"rate_cards/{section.name}.yaml").read_text("utf-8")
    block = re.search(r"^```yaml\n(.*?)^```$", section.body, flags=re.MULTILINE | re.DOTALL)
    if block is None:
        raise PageFaultError("'## rate card' without a name holds no ```yaml block")
    keys = dict(re.findall(r"^(rate_card|version): (\S+)", block[1], flags=re.MULTILINE))
    return f"rate_cards/{keys.get('rate_card')}.v{keys.get('version')}.yaml", block[1]


def read_table(body: str, heading: str) -> MarkdownTable:
    """The one Markdown table in the text below a heading; other lines are prose."""
    lines = [line.strip() for line in body.splitlines() if line.startswith("|")]
    if len(lines) < 2 or set(lines[1]) - set("|-: "):
        raise PageFaultError(f"'## {heading}' holds no table with a header and a rule")
    header, *rows = (_cells(line) for index, line in enumerate(lines) if index != 1)
    for row in rows:
        if len(row) != len(header):
            raise PageFaultError(f"'## {heading}': {len(row)} cells under {len(header)} columns: {row}")
    return MarkdownTable(header, tuple(rows))


def _cells(line: str) -> tuple[str, ...]:
    if not line.endswith("|"):
        raise PageFaultError(f"a table row without its last border: {line}")
    return tuple(cell.strip().replace("\\|", "|") for cell in _CELL_BORDER.split(line[1:-1]))


def differences(expectation: Expectation, actual: pa.Table) -> list[str]:
    """What is wrong with `actual`, one line a row; empty where it is as expected.

    Only the columns the page lists are compared, each by its own type: 40 and 40.0000 are one amount, and
    an instant needs its offset.
    """
    columns = expectation.table.columns
    if absent := ", ".join(column for column in columns if column not in actual.column_names):
        return [f"no column {absent}; there are {', '.join(actual.column_names)}"]
    types = [actual.schema.field(column).type for column in columns]
    wanted = Counter(
        tuple(_typed(*cell) for cell in zip(row, types, columns, strict=True)) for row in expectation.table.rows
    )
    found = Counter(zip(*(actual.column(column).to_pylist() for column in columns), strict=True))
    missing, extra = wanted - found, found - wanted
    if expectation.among_others:
        extra.clear()
    told = [("missing", row) for row in missing.elements()] + [("not expected", row) for row in extra.elements()]
    return [f"{what}: {_row_text(columns, row)}" for what, row in told]


def _typed(cell: str, kind: pa.DataType, column: str) -> object:
    """The Python value that Arrow would hand back for this cell in a column of this type."""
    if cell == "":
        return None
    if pa.types.is_decimal(kind):
        return Decimal(cell)
    if pa.types.is_integer(kind):
        return int(cell)
    if pa.types.is_date(kind):
        return date.fromisoformat(cell)
    if pa.types.is_timestamp(kind):
        instant = datetime.fromisoformat(cell)
        if instant.tzinfo is None:
            raise PageFaultError(f"{column}: the instant {cell} has no offset")
        return instant
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return cell
    raise PageFaultError(f"{column}: a page cannot say what it expects of a column of type {kind}")


def _row_text(columns: Sequence[str], row: Sequence[object]) -> str:
    cells = ("" if cell is None else str(cell) for cell in row)
    return " | ".join(f"{column} {cell}" for column, cell in zip(columns, cells, strict=True))
