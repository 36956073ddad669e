"""Large files are kept each in a Parquet file of its own, in its own order, and read there by this run and later ones.

A Parquet file whose columns have the contract's types is copied byte for byte: typing a row and writing it again costs
far more than reading it. A test that needs no look into a text (`is_...` in sql/ingest/types.sql) tells faulty rows.
Any other file is typed into a Parquet file, without standing in memory, and its faulty rows are made to fail that test.
Faulty rows go the way of all other rows (`ingest`), and readers of the kept file leave them out by the same test.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import reduce
from operator import and_, or_
from pathlib import Path

import duckdb
from duckdb import (
    CoalesceOperator,
    ColumnExpression,
    ConstantExpression,
    Expression,
    FunctionExpression,
    SQLExpression,
)

from usage_rating import ingest
from usage_rating.feeds import FEEDS, Column, ColumnType, Feed
from usage_rating.files import hash_of
from usage_rating.input_files import CheckedFile, refuse_if_changed
from usage_rating.manifests import run_id
from usage_rating.store import Store

ROWS_MIN = 50_000  # smaller files of a night share one typed file: a reader pays for each file it opens
EXACT_TYPES = {
    ColumnType.TEXT: re.compile("VARCHAR"),
    ColumnType.INSTANT: re.compile("|".join(ingest.INSTANT_TYPES)),
    ColumnType.QUANTITY: ingest.WHOLE_TYPES,
    ColumnType.WHOLE_NUMBER: re.compile(r"U?(TINY|SMALL|BIG)?INT(EGER)?"),
    ColumnType.FLAG: re.compile("BOOLEAN"),
}
COUNTS = "passing, misleading, coalesce(len(others), 0)"
ROW_NUMBER = ColumnExpression("file_row_number") + ConstantExpression(1)


@dataclass(frozen=True)
class Original:
    """A large file as it is kept: where that lies, and in which run and under which name its rows were delivered."""

    path: Path
    run_number: int
    file: str


@dataclass(frozen=True)
class Kept:
    """A new large file that is kept: under which name of the night's folder, and the hash of what lies there.

    `others` is the table with its rows that do not pass the test, `others_count` how many they are.
    """

    checked: CheckedFile
    name: str
    sha256: str
    others: str
    others_count: int


def name_of(feed: str, run_number: int, number: int) -> str:
    """Where the first, second... large file of a run lies in a night's folder."""
    return f"kept/{feed}_files/{run_id(run_number)}_{number:04d}.parquet"


def is_large(checked: CheckedFile) -> bool:
    """Whether a file is one to be kept by itself, if it can be."""
    return FEEDS[checked.file.feed].has_originals and checked.rows >= ROWS_MIN


def keep(engine: duckdb.DuckDBPyConnection, checked: CheckedFile, store: Store, name: str) -> Kept | None:
    """Copies or types a large file into the coming night, if it can be; `type_others` has to follow.

    :param name: its name in the night's folder
    :returns: None: some line of it is no row, and nothing was done yet
    :raises BadInput: it cannot be read, or was changed meanwhile
    """
    with ingest.unreadable_refused(checked.file), ingest.plainly_named(checked.file, store.work) as link:
        return _copied(engine, checked, link, store, name) or _typed_anew(engine, checked, link, store, name)


def _copied(
    engine: duckdb.DuckDBPyConnection, checked: CheckedFile, link: Path, store: Store, name: str
) -> Kept | None:
    """None: its columns have other types, or a faulty row passes the test."""
    feed = FEEDS[checked.file.feed]
    if not checked.file.is_parquet or not _is_exact(ingest.open_parquet(engine, [link]), feed, checked.header):
        return None
    try:
        path = store.keep(checked.file.path, name)
    finally:
        refuse_if_changed(checked.file)
    rows = ingest.open_parquet(engine, [path])
    present = _present(rows, feed)
    fields = {f"field_{rows.columns.index(column.name)}": ColumnExpression(column.name) for column in present}
    texts = (ColumnExpression(column.name) for column in present if column.type is ColumnType.TEXT)
    # Every value is read for it, so that a damaged file is refused by name.
    has_zero_byte = reduce(or_, (FunctionExpression("has_zero_byte", text) for text in texts))
    return _kept(engine, checked, name, checked.sha256, _judged(rows, feed, fields, has_zero_byte))


def _typed_anew(
    engine: duckdb.DuckDBPyConnection, checked: CheckedFile, link: Path, store: Store, name: str
) -> Kept | None:
    """None: some line of it is no row."""
    path, feed = store.to_keep(name), FEEDS[checked.file.feed]
    if not ingest.write_typed(engine, checked, link, path):
        path.unlink()
        return None
    texts = {
        column.name: FunctionExpression("list_extract", ColumnExpression("texts"), ConstantExpression(place))
        for place, column in enumerate(feed.columns, start=1)
    }
    fields = {f"field_{place}": texts[name] for place, name in enumerate(checked.header) if name in texts}
    judged = _judged(ingest.open_parquet(engine, [path]), feed, fields, ConstantExpression(value=False))
    return _kept(engine, checked, name, hash_of(path), judged)


def _kept(
    engine: duckdb.DuckDBPyConnection, checked: CheckedFile, name: str, sha256: str, judged: duckdb.DuckDBPyRelation
) -> Kept | None:
    others = f"others_of_{Path(name).stem}"
    engine.execute(f"drop table if exists {others}")  # of an earlier attempt
    judged.create(others)
    ((passing, misleading, others_count),) = engine.table(others).project(COUNTS).fetchall()
    if misleading:
        return None
    ingest.refuse_if_incomplete(checked, passing + others_count)
    return Kept(checked, name, sha256, others, others_count)


def type_others(engine: duckdb.DuckDBPyConnection, kept: list[Kept], run_number: int) -> None:
    """The rows that do not pass the test go the way of all rows, to be refused with what is wrong with them."""
    groups: dict[tuple[str, tuple[str, ...], str], list[Kept]] = {}
    for each in kept:
        if each.others_count:
            shape = str(engine.table(each.others).types)
            groups.setdefault((each.checked.file.feed, each.checked.header, shape), []).append(each)
    for alike in groups.values():
        rows = (
            engine.table(each.others).select(
                ConstantExpression(each.checked.file.name).alias("file"),
                SQLExpression("unnest(others, max_depth := 2)"),
            )
            for each in alike
        )
        ingest.type_rows(engine, reduce(duckdb.DuckDBPyRelation.union, rows), alike[0].checked, run_number)
    for each in kept:
        engine.execute(f"drop table {each.others}")


def open_rows(
    engine: duckdb.DuckDBPyConnection, feed: Feed, originals: list[Original]
) -> Iterator[duckdb.DuckDBPyRelation]:
    """The good rows of large files, as `new_<feed>` has them: one relation for all files of one shape.

    Columns that a query does not ask for cost it nothing.
    """
    for group in _by_shape(engine, originals):
        rows = ingest.open_parquet(engine, (original.path for original in group))
        runs = (ConstantExpression(original.run_number).cast("integer") for original in group)
        files = (ConstantExpression(original.file) for original in group)
        yield _good(rows, feed, ingest.by_file(runs), ingest.by_file(files))


def open_row(
    engine: duckdb.DuckDBPyConnection, feed: Feed, original: Original, row_number: int
) -> duckdb.DuckDBPyRelation:
    """One row of a large file, as `open_rows` has it; none where it was refused. Other rows are not looked at."""
    rows = ingest.open_parquet(engine, [original.path])
    own = rows.filter(ColumnExpression("file_row_number") == ConstantExpression(row_number - 1))
    run = ConstantExpression(original.run_number).cast("integer")
    return _good(own, feed, run, ConstantExpression(original.file))


def _good(
    rows: duckdb.DuckDBPyRelation, feed: Feed, run_number: Expression, file: Expression
) -> duckdb.DuckDBPyRelation:
    return rows.filter(_passes(rows, feed)).select(
        *(ingest.with_default(column, _typed(column, rows)) for column in feed.columns),
        run_number.alias("run_number"),
        file.alias("file"),
        ROW_NUMBER.alias("row_number"),
    )


def _by_shape(engine: duckdb.DuckDBPyConnection, originals: list[Original]) -> Iterable[list[Original]]:
    if not originals:
        return []
    shapes = ingest.shapes_of(engine, (original.path for original in originals))
    groups: dict[str, list[Original]] = {}
    for original in originals:
        groups.setdefault(shapes[original.path], []).append(original)
    return groups.values()


def _is_exact(rows: duckdb.DuckDBPyRelation, feed: Feed, header: tuple[str, ...]) -> bool:
    """Whether every column has a name of its own to the engine, and those of the contract have its types."""
    names = {name.lower() for name in header}
    if tuple(rows.columns) != header or len(names) < len(header) or names & ingest.OF_THE_ENGINE:
        return False
    types = dict(zip(rows.columns, map(str, rows.types), strict=True))
    return all(EXACT_TYPES[column.type].fullmatch(types[column.name]) for column in _present(rows, feed))


def _present(rows: duckdb.DuckDBPyRelation, feed: Feed) -> list[Column]:
    return [column for column in feed.columns if column.name in rows.columns]


def _judged(
    rows: duckdb.DuckDBPyRelation, feed: Feed, fields: dict[str, Expression], misleads: Expression
) -> duckdb.DuckDBPyRelation:
    """In one row: how many pass the test, how many of them wrongly, and the others, as `ingest` takes them.

    :param fields: of the others
    :param misleads: whether a row that passes is faulty
    """
    placed = {"row_number": ROW_NUMBER} | fields
    return rows.select(
        CoalesceOperator(_passes(rows, feed), ConstantExpression(value=False)).alias("passes"),
        misleads.alias("misleads"),
        FunctionExpression("struct_pack", *(value.alias(field) for field, value in placed.items())).alias("fields"),
    ).aggregate(
        "count(*) filter (where passes) as passing, count(*) filter (where passes and misleads) as misleading, "
        "list(fields) filter (where not passes) as others"
    )


def _passes(rows: duckdb.DuckDBPyRelation, feed: Feed) -> Expression:
    """The test of a row: true of no faulty one but for a zero byte in a text; of what is right it may be false too."""
    return reduce(and_, (test for column in _present(rows, feed) for test in _tests(column, rows)))


def _tests(column: Column, rows: duckdb.DuckDBPyRelation) -> Iterator[Expression]:
    value = _plain(column, rows)
    if column.choices:
        test = value.isin(*(ConstantExpression(choice) for choice in column.choices))
    elif column.type is ColumnType.FLAG or (column.type is ColumnType.TEXT and not column.is_required):
        return
    else:
        test = FunctionExpression(column.type.value.replace("as_", "is_"), value)
    yield test if column.is_required else test | value.isnull()


def _plain(column: Column, rows: duckdb.DuckDBPyRelation) -> Expression:
    """A column as the file has it, but for times without a zone, which are UTC."""
    value = ColumnExpression(column.name)
    is_without_zone = str(rows.types[rows.columns.index(column.name)]) == "TIMESTAMP"
    return FunctionExpression("of_utc", value) if is_without_zone else value


def _typed(column: Column, rows: duckdb.DuckDBPyRelation) -> Expression:
    """A column of the rows that pass, as the contract's type. Nothing here can fail, whatever is worked out first."""
    if column.name not in rows.columns:
        return ConstantExpression(None).cast(ingest.ENGINE_TYPES[column.type])
    value = _plain(column, rows)
    if column.type is ColumnType.QUANTITY:
        return FunctionExpression("fitting_quantity", value)
    if column.type is ColumnType.WHOLE_NUMBER:
        return FunctionExpression("fitting_whole_number", value)
    if column.type is ColumnType.TEXT and not column.is_required:
        return FunctionExpression("nullif", value, ConstantExpression(""))
    return value
