"""Reads new input files into typed rows; what cannot be typed becomes a rejected row with its reason and text.

For every feed the engine ends up with a table `new_<feed>` (the feed's columns, typed, then run_number, file and
row_number), and all feeds share `new_rejected_rows`.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import reduce
from itertools import accumulate
from operator import or_
from pathlib import Path

import duckdb
from duckdb import (
    CaseExpression,
    CoalesceOperator,
    ColumnExpression,
    ConstantExpression,
    Expression,
    FunctionExpression,
    SQLExpression,
    StarExpression,
)

from usage_rating import time_zones
from usage_rating.engine import write_kept
from usage_rating.errors import BadInput
from usage_rating.feeds import FEEDS, Column, ColumnType, Feed
from usage_rating.input_files import SUFFIXES, UNREADABLE, CheckedFile, InputFile, blank_lines, refuse_if_changed
from usage_rating.sql_files import read_sql

ENGINE_TYPES = {
    ColumnType.TEXT: "varchar",
    ColumnType.TIME_ZONE: "varchar",
    ColumnType.INSTANT: "timestamptz",
    ColumnType.QUANTITY: "decimal(18, 6)",
    ColumnType.AMOUNT: "decimal(20, 4)",
    ColumnType.WHOLE_NUMBER: "bigint",
    ColumnType.FLAG: "boolean",
}
# Types of Parquet columns that hold exact values, no finer than the contract allows: these need no way over text.
INSTANT_TYPES = ("TIMESTAMP", "TIMESTAMP WITH TIME ZONE")
WHOLE_TYPES = re.compile(r"U?(TINY|SMALL|BIG)?INT(EGER)?|DECIMAL\([0-9]+,[0-6]\)")
OF_THE_ENGINE = {"filename", "file_index", "file_row_number"}  # a column of such a name hides what the engine says
FILE, ROW_NUMBER = ColumnExpression("file"), ColumnExpression("row_number")
SMALL_ROWS_MAX = 10_000
SMALL_BYTES_MAX = 4 << 20
DEFAULTS = {"revision": "0", "voided": "false"}  # what counts where a row leaves them out
SIGNED = (ColumnType.QUANTITY, ColumnType.AMOUNT)
LINE_FAULTS = ("MISSING COLUMNS", "TOO MANY COLUMNS", "INVALID ENCODING", "LINE SIZE OVER MAXIMUM")
REJECTED_COLUMNS = (
    "feed varchar, run_number integer, file varchar, row_number bigint, reason varchar, detail varchar, raw varchar"
)


def prepare(engine: duckdb.DuckDBPyConnection) -> None:
    """Creates the macros and the empty tables that `read_file` fills."""
    engine.execute("set variable time_zones = $names", {"names": sorted(time_zones.names())})
    engine.execute(read_sql("ingest/types.sql"))
    for feed in FEEDS.values():
        columns = ", ".join(f"{column.name} {ENGINE_TYPES[column.type]}" for column in feed.columns)
        engine.execute(
            f"create or replace table new_{feed.name} ({columns}, run_number integer, file varchar, row_number bigint)"
        )
    engine.execute(f"create or replace table new_rejected_rows ({REJECTED_COLUMNS})")


def read_files(
    engine: duckdb.DuckDBPyConnection,
    files: list[CheckedFile],
    run_number: int,
    scratch: Path,
    announce: Callable[[str], None] = lambda step: None,
) -> None:
    """Reads each file as `read_file` does, and small files of one feed and shape together.

    To begin with a file costs what thousands of its rows do.

    :raises BadInput: naming every file that cannot be read
    """
    faults: list[str] = []
    together = _read_alike(engine, [each for each in files if _is_small(each)], run_number, scratch)
    for number, checked in enumerate(files, 1):
        announce(f"reading {checked.file.name} · {number} of {len(files)}")
        try:
            if checked.file.name in together:
                refuse_if_changed(checked.file)
            else:
                read_file(engine, checked, run_number, scratch)
        except BadInput as error:
            faults += error.faults
    if faults:
        raise BadInput(faults)


def read_file(engine: duckdb.DuckDBPyConnection, checked: CheckedFile, run_number: int, scratch: Path) -> int:
    """Types one file's rows and appends them to `new_<feed>` or `new_rejected_rows`.

    :returns: the number of rows read, good and bad
    :raises BadInput: the engine cannot read the file as a whole, or not all of its rows, or its quoting is broken
    """
    file = checked.file
    with plainly_named(file, scratch) as link, unreadable_refused(file):
        if file.is_parquet:
            rows = _placed(open_parquet(engine, [link]), ConstantExpression(file.name))
            total = type_rows(engine, rows, checked, run_number)
        else:
            total = _read_csv_rows(engine, checked, link, run_number)
    refuse_if_incomplete(checked, total)
    return total


def refuse_if_incomplete(checked: CheckedFile, total: int) -> None:
    """Every row that a file promises must have been read, and from the bytes that were hashed.

    :raises BadInput: fewer or more could be read, or the file was changed meanwhile
    """
    refuse_if_changed(checked.file)
    if total != checked.rows:
        raise BadInput(
            [
                f"{checked.file.name}: of its {checked.rows:,} rows {total:,} could be read. Long stretches of it may "
                "be no rows at all; have it exported again."
            ]
        )


@contextmanager
def unreadable_refused(file: InputFile) -> Iterator[None]:
    """Says of a file that cannot be read that it is the file's fault.

    :raises BadInput: instead of what the engine raised
    """
    try:
        yield
    except duckdb.Error as error:
        raise _refusal(file, error) from error
    except UNREADABLE as error:
        raise BadInput([f"{file.name}: cannot be read: {error}. Have it exported again."]) from error


def _refusal(file: InputFile, error: duckdb.Error) -> Exception:
    """Tells a file the engine cannot read from a full disk and from faults of ours, which go up as they are."""
    said = str(error)
    is_of_the_file = type(error) in (duckdb.Error, duckdb.InvalidInputException, duckdb.IOException) or (
        # A time in seconds or milliseconds can lie past what microseconds reach.
        file.is_parquet and type(error) is duckdb.ConversionException and "Timestamp" in said
    )
    if not is_of_the_file or "No space left" in said:
        return error
    reason = said.splitlines()[0].replace(str(file.path), file.name)
    if "invalid state" in said:
        reason = "its lines do not all end the same way (LF or CRLF), or a quote stands inside a value."
    return BadInput([f"{file.name}: cannot be read: {reason} Have it exported again."])


@contextmanager
def plainly_named(file: InputFile, scratch: Path, number: int = 0) -> Iterator[Path]:
    """Gives the file a plain name meanwhile: the engine takes `*` and `[` in a name for a pattern."""
    link = scratch / (f"input{number or ''}" + next(suffix for suffix in SUFFIXES if file.name.endswith(suffix)))
    link.unlink(missing_ok=True)
    link.symlink_to(file.path.resolve())
    try:
        yield link
    finally:
        link.unlink()


def open_parquet(engine: duckdb.DuckDBPyConnection, paths: Iterable[Path]) -> duckdb.DuckDBPyRelation:
    """The rows of Parquet files of one shape; whatever their folders are named, their columns are their own."""
    return engine.read_parquet([str(path) for path in paths], hive_partitioning=False)


def shapes_of(engine: duckdb.DuckDBPyConnection, paths: Iterable[Path]) -> dict[Path, str]:
    """The columns and types of each Parquet file, as a text: the engine reads files together as the first one's types.

    :raises duckdb.Error: one of them cannot be read
    """
    shapes = engine.execute(
        "select file_name, list((name, duckdb_type) order by column_id)::varchar from parquet_schema($files) "
        "group by file_name",
        {"files": [str(path) for path in paths]},
    )
    return {Path(name): shape for name, shape in shapes.fetchall()}


def by_file(values: Iterable[Expression]) -> Expression:
    """One of the values for each of several files that are read together, in their order.

    It is the same for all rows of a vector, so that it is looked up once for thousands.
    """
    place = ColumnExpression("file_index").cast("bigint") + ConstantExpression(1)
    return FunctionExpression("list_extract", FunctionExpression("list_value", *values), place)


def type_rows(
    engine: duckdb.DuckDBPyConnection, rows: duckdb.DuckDBPyRelation, like: CheckedFile, run_number: int
) -> int:
    """Types rows of Parquet files and appends them to `new_<feed>` or `new_rejected_rows`.

    :param rows: file, row_number, and `field_<place>` of every column of the contract that the files have
    :param like: one of the files; all have its columns
    :returns: the number of rows
    """
    try:
        _typed(rows, like, file=FILE, row_number=ROW_NUMBER).create("typed_rows")
        return _share_out(engine, FEEDS[like.file.feed], run_number)
    finally:
        _drop_what_was_read(engine)


def write_typed(engine: duckdb.DuckDBPyConnection, checked: CheckedFile, link: Path, to: Path) -> bool:
    """Types a large file's rows into a Parquet file, in their order and without holding them in memory.

    It has the feed's columns, the first of them NULL in a faulty row, and `texts`: of a faulty row what each column of
    the contract says, NULL of any other.

    :returns: False: some line of it is no row at all, so that the rows' numbers are not their places
    """
    columns = FEEDS[checked.file.feed].columns
    try:
        if checked.file.is_parquet:
            found = open_parquet(engine, [link])
            rows = found.select(*(ColumnExpression(name).alias(f"field_{at}") for at, name in enumerate(found.columns)))
        else:
            rows = _open_csv(engine, checked, [link])
        first = CaseExpression(~ColumnExpression("is_faulty"), ColumnExpression(columns[0].name))
        typed = _typed(rows, checked).select(
            first.alias(columns[0].name),
            *(with_default(column, ColumnExpression(column.name)) for column in columns[1:]),
            "texts",
        )
        write_kept(engine, typed, to)
        return checked.file.is_parquet or not engine.execute("from malformed_lines limit 1").fetchall()
    finally:
        _drop_what_was_read(engine)


def _drop_what_was_read(engine: duckdb.DuckDBPyConnection) -> None:
    for table in ("typed_rows", "malformed_rows", "malformed_lines", "scanned_files", "blank_lines"):
        engine.execute(f"drop table if exists {table}")


def _placed(rows: duckdb.DuckDBPyRelation, file: Expression) -> duckdb.DuckDBPyRelation:
    """Names the columns by their place, as CSV's are: to the engine `ID` and `id` are one name."""
    is_hidden = any(name.lower() == "file_row_number" for name in rows.columns)
    number = "row_number() over ()" if is_hidden else "file_row_number + 1"
    return rows.select(
        file.alias("file"),
        SQLExpression(number).alias("row_number"),
        *(ColumnExpression(name).alias(f"field_{place}") for place, name in enumerate(rows.columns)),
    )


def _is_small(checked: CheckedFile) -> bool:
    """Whether a file is to be read together with others, if there are any like it."""
    is_small = checked.rows <= SMALL_ROWS_MAX and checked.file.bytes <= SMALL_BYTES_MAX
    hides_the_engines = OF_THE_ENGINE & {name.lower() for name in checked.header}
    return is_small and not (checked.file.is_parquet and hides_the_engines)


def _read_alike(
    engine: duckdb.DuckDBPyConnection, files: list[CheckedFile], run_number: int, scratch: Path
) -> set[str]:
    """Reads those files together that are of one feed and shape; gives the names of all that were read.

    Where some row of some file is none, nothing is done of any: what is wrong is found by reading each by itself.
    """
    names: set[str] = set()
    with ExitStack() as stack:
        links = {
            checked: stack.enter_context(plainly_named(checked.file, scratch, number))
            for number, checked in enumerate(files, start=1)
        }
        for alike in _of_one_shape(engine, links):
            if len(alike) > 1 and _read_together(engine, alike, [links[checked] for checked in alike], run_number):
                names |= {checked.file.name for checked in alike}
    return names


def _of_one_shape(engine: duckdb.DuckDBPyConnection, links: dict[CheckedFile, Path]) -> Iterable[list[CheckedFile]]:
    """Groups those that can be read together."""
    parquet = [link for checked, link in links.items() if checked.file.is_parquet]
    try:
        shapes = shapes_of(engine, parquet) if parquet else {}
    except duckdb.Error:
        shapes = {}
    groups: dict[tuple[str, str | tuple[str, ...]], list[CheckedFile]] = {}
    for checked, link in links.items():
        shape = shapes.get(link) if checked.file.is_parquet else checked.header
        if shape:
            groups.setdefault((checked.file.feed, shape), []).append(checked)
    return groups.values()


def _read_together(
    engine: duckdb.DuckDBPyConnection, alike: list[CheckedFile], links: list[Path], run_number: int
) -> bool:
    """Whether it could be done; if not, nothing was."""
    try:
        is_whole = _are_typed_whole(engine, alike, links)
        if is_whole:
            _share_out(engine, FEEDS[alike[0].file.feed], run_number)
        return is_whole
    finally:
        _drop_what_was_read(engine)


def _are_typed_whole(engine: duckdb.DuckDBPyConnection, alike: list[CheckedFile], links: list[Path]) -> bool:
    """Types the rows of files into `typed_rows`, and finds out whether all were read and each has its number."""
    try:
        if alike[0].file.is_parquet:
            names = (ConstantExpression(checked.file.name) for checked in alike)
            rows = _placed(open_parquet(engine, links), by_file(names))
            _typed(rows, alike[0], file=FILE, row_number=ROW_NUMBER).create("typed_rows")
        else:
            _type_csv_rows(engine, alike, links)
    except duckdb.Error:
        return False
    if not alike[0].file.is_parquet and engine.execute("from malformed_lines limit 1").fetchall():
        return False
    found = engine.execute(
        "select file, count(*), min(row_number), max(row_number) from typed_rows group by file"
    ).fetchall()
    return set(found) == {(checked.file.name, checked.rows, 1, checked.rows) for checked in alike if checked.rows}


def _read_csv_rows(engine: duckdb.DuckDBPyConnection, checked: CheckedFile, link: Path, run_number: int) -> int:
    feed = FEEDS[checked.file.feed]
    try:
        _type_csv_rows(engine, [checked], [link])
        malformed = _refuse_malformed_rows(engine, checked, run_number)
        if malformed:
            engine.execute(f"create or replace table typed_rows as {read_sql('ingest/numbered_rows.sql')}")
        return _share_out(engine, feed, run_number) + malformed
    finally:
        _drop_what_was_read(engine)


def _type_csv_rows(engine: duckdb.DuckDBPyConnection, alike: list[CheckedFile], links: list[Path]) -> None:
    """Makes `typed_rows`, numbered as the engine reads them; what is no row goes to `malformed_lines` meanwhile.

    It reads files one after the other. Only where each row of a file was read do those of the next begin with 1.
    """
    rows = _open_csv(engine, alike[0], links)
    rows_before = accumulate((checked.rows for checked in alike[:-1]), initial=0)
    file = by_file(ConstantExpression(checked.file.name) for checked in alike)
    row_number = SQLExpression("row_number() over ()") - by_file(map(ConstantExpression, rows_before))
    _typed(rows, alike[0], file=file, row_number=row_number).create("typed_rows")


def _open_csv(engine: duckdb.DuckDBPyConnection, like: CheckedFile, links: list[Path]) -> duckdb.DuckDBPyRelation:
    return engine.read_csv(
        [str(link) for link in links],  # type: ignore[arg-type]  # it takes several, which its stub does not say
        header=True,
        auto_detect=False,
        columns={f"field_{position}": "VARCHAR" for position in range(len(like.header))},
        delimiter=",",
        quotechar='"',
        escapechar='"',
        store_rejects=True,
        rejects_table="malformed_lines",
        rejects_scan="scanned_files",
    )


def _refuse_malformed_rows(engine: duckdb.DuckDBPyConnection, checked: CheckedFile, run_number: int) -> int:
    """Lines that are no row of the header's width are rejected rows; one with broken quoting condemns the file.

    :returns: how many there were; they are in `malformed_rows`
    """
    file = checked.file
    lines = engine.execute("select line, error_message, error_type::varchar from malformed_lines order by line")
    faults = lines.fetchall()
    if not faults:
        return 0
    broken = [(line, message) for line, message, kind in faults if kind not in LINE_FAULTS]
    if broken:
        raise BadInput(
            f"{file.name}: line {line} cannot be read: {message} "
            "Rows after it may be swallowed; have it exported again."
            for line, message in broken
        )
    engine.execute(
        "create table blank_lines as select unnest($lines::bigint[]) as line", {"lines": blank_lines(checked)}
    )
    malformed = engine.sql(read_sql("ingest/malformed_rows.sql"))
    malformed.create("malformed_rows")
    refused = engine.execute(
        "insert into new_rejected_rows "
        "select $feed, $run_number, $file, row_number, 'bad_value', detail, raw from malformed_rows",
        {"feed": file.feed, "run_number": run_number, "file": file.name},
    )
    return int(refused.fetchall()[0][0])


def _typed(rows: duckdb.DuckDBPyRelation, like: CheckedFile, **origin: Expression) -> duckdb.DuckDBPyRelation:
    """Each row's origin and typed columns (as the contract names them), whether it is faulty, and then its texts.

    What is wrong with it is not said yet: most files have no such row, and then to ask costs more than to read them.
    """
    columns, header = FEEDS[like.file.feed].columns, like.header
    types = dict(zip(rows.columns, map(str, rows.types), strict=True))
    fields = {column: f"field_{header.index(column.name)}" for column in columns if column.name in header}
    texts = {column: ColumnExpression(field).cast("varchar") for column, field in fields.items()}
    values = rows.select(
        *(value.alias(name) for name, value in origin.items()),
        *fields.values(),
        *(_value(column, fields[column], types) if column in fields else _absent(column) for column in columns),
    )
    return values.select(
        *(*origin, *(column.name for column in columns)),
        reduce(or_, (test for column, text in texts.items() for test in _tests(column, text))).alias("is_faulty"),
        CaseExpression(
            ColumnExpression("is_faulty"),
            FunctionExpression("list_value", *(texts.get(column, ConstantExpression(None)) for column in columns)),
        ).alias("texts"),
    )


def _absent(column: Column) -> Expression:
    return ConstantExpression(None).cast(ENGINE_TYPES[column.type]).alias(column.name)


def _value(column: Column, name: str, types: dict[str, str]) -> Expression:
    """What a field holds as the contract's type: of a Parquet file that has it already, without a way over text."""
    field, engine_type = ColumnExpression(name), types[name]
    if column.choices:
        choices = FunctionExpression("list_value", *(ConstantExpression(choice) for choice in column.choices))
        value = FunctionExpression("as_choice", field.cast("varchar"), choices)
    elif column.type is ColumnType.INSTANT and engine_type in INSTANT_TYPES:
        value = FunctionExpression("within_years", field.cast("timestamptz"))
    elif column.type is ColumnType.QUANTITY and WHOLE_TYPES.fullmatch(engine_type):
        value = FunctionExpression("fitting_quantity", field)
    else:
        value = FunctionExpression(column.type.value, field.cast("varchar"))
    return value.alias(column.name)


def _tests(column: Column, text: Expression) -> Iterator[Expression]:
    value = ColumnExpression(column.name)
    yield FunctionExpression("is_fault", text, value, ConstantExpression(column.is_required))
    if column.type in SIGNED:
        yield FunctionExpression("is_negative", value)


def _faults(column: Column, text: Expression) -> Iterator[Expression]:
    name, expected = ConstantExpression(column.name), ConstantExpression(column.expected)
    value = ColumnExpression(column.name)
    yield FunctionExpression("fault_in", name, text, value, ConstantExpression(column.is_required), expected)
    if column.type in SIGNED:
        yield FunctionExpression("sign_fault_in", name, text, value, expected)


def with_default(column: Column, value: Expression) -> Expression:
    """A column's value, or what counts where a row leaves it out."""
    if column.name in DEFAULTS:
        value = CoalesceOperator(value, SQLExpression(DEFAULTS[column.name]))
    return value.alias(column.name)


def _share_out(engine: duckdb.DuckDBPyConnection, feed: Feed, run_number: int) -> int:
    """Good rows of `typed_rows` to `new_<feed>`, the others to `new_rejected_rows`; gives the number of both."""
    names = (column.name for column in feed.columns)
    values = ", ".join(f"coalesce({name}, {DEFAULTS[name]})" if name in DEFAULTS else name for name in names)
    engine.execute(
        f"insert into new_{feed.name} select {values}, $run_number, file, row_number from typed_rows "
        "where not is_faulty",
        {"run_number": run_number},
    )
    ((total, faulty),) = engine.execute("select count(*), count_if(is_faulty) from typed_rows").fetchall()
    if faulty:
        _refuse(engine.table("typed_rows").filter("is_faulty"), feed, run_number)
    return int(total)


def _refuse(rows: duckdb.DuckDBPyRelation, feed: Feed, run_number: int) -> None:
    """Faulty rows with all that is wrong with each."""
    texts = {
        column.name: FunctionExpression("list_extract", ColumnExpression("texts"), ConstantExpression(place))
        for place, column in enumerate(feed.columns, start=1)
    }
    faults = (fault for column in feed.columns for fault in _faults(column, texts[column.name]))
    raw = FunctionExpression(
        "json_object", *(part for name in texts for part in (ConstantExpression(name), texts[name]))
    )
    origin = (ConstantExpression(run_number).cast("integer"), FILE, ROW_NUMBER)
    rows.select(
        StarExpression(), FunctionExpression("list_value", *faults).alias("faults"), raw.cast("varchar").alias("raw")
    ).select(
        ConstantExpression(feed.name),
        *origin,
        SQLExpression("list_any_value(faults).reason"),
        SQLExpression("array_to_string(list_transform(faults, lambda fault: fault.detail), '; ')"),
        ColumnExpression("raw"),
    ).insert_into("new_rejected_rows")
    if feed.name == "cart_snapshots":
        _list_refused_carts(rows, feed, origin)


def _list_refused_carts(refused: duckdb.DuckDBPyRelation, feed: Feed, origin: tuple[Expression, ...]) -> None:
    """A refused snapshot row whose ids can be read still lists its cart (SPEC 2): kept, without a state."""
    readable = refused.filter(" and ".join(f"{name} is not null" for name in feed.key))
    readable.select(
        *(
            ColumnExpression(column.name)
            if column.name in feed.key
            else SQLExpression(DEFAULTS.get(column.name, "null"))
            for column in feed.columns
        ),
        *origin,
    ).insert_into("new_cart_snapshots")
