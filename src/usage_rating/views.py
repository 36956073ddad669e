"""`billing.duckdb`: a small file of views over a night's Parquet files, for analysts."""

from pathlib import Path

import duckdb

from usage_rating.errors import BadInput
from usage_rating.files import hash_of
from usage_rating.tables import TABLES


def write_views(night: Path, target: Path, names: list[str]) -> None:
    """Writes a database of views over the Parquet files of `night`.

    Beside it stands its hash, by which damage is told. The views name absolute paths (the engine takes no others),
    so after a move they are written anew.

    :param night: where the files will be when somebody opens the database
    :param target: the database file, not existing yet
    :param names: the night's files, relative to it
    """
    with duckdb.connect(str(target)) as database:
        for table in TABLES:
            files = [str(night / name) for name in sorted(names) if Path(name).parent == Path(table)]
            columns = ", ".join(TABLES[table].columns)
            listed = ", ".join("'" + file.replace("'", "''") + "'" for file in files)
            database.execute(f"create view {table} as select {columns} from read_parquet([{listed}])")
    target.with_suffix(".sha256").write_text(hash_of(target), encoding="utf-8")


def rewrite_views(output: Path, names: list[str]) -> Path:
    """Writes the current night's views anew, after the output folder was moved.

    :returns: the database file
    :raises BadInput: there is no night yet
    """
    if not names:
        raise BadInput([f"{output}: holds no published night. Run `usage-rating run` first."])
    rewrite_views_of((output / "current").resolve(), names)
    return output / "billing.duckdb"


def rewrite_views_of(night: Path, names: list[str]) -> None:
    """The same of one night's folder, under the path it has now."""
    aside = night / ".billing.duckdb"
    aside.unlink(missing_ok=True)
    write_views(night, aside, names)
    aside.replace(night / "billing.duckdb")
    aside.with_suffix(".sha256").replace(night / "billing.sha256")
