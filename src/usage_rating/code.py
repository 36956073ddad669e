"""Which code works out a bill."""

from functools import cache
from pathlib import Path

from usage_rating.files import hash_of, hash_of_text
from usage_rating.sql_files import SQL_FOLDER


@cache
def code_hash() -> str:
    """The hash of the package and its SQL."""
    package = Path(__file__).parent
    files = {f"src/{path.name}": path for path in package.glob("*.py")} | {
        f"sql/{path.relative_to(SQL_FOLDER).as_posix()}": path for path in SQL_FOLDER.rglob("*.sql")
    }
    return hash_of_text(*(f"{name} {hash_of(path)}" for name, path in sorted(files.items())))
