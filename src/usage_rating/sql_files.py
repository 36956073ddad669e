"""Where the SQL files are, in a checkout and in an installed wheel."""

from pathlib import Path

_PACKAGED = Path(__file__).parent / "sql"
_IN_CHECKOUT = Path(__file__).parents[2] / "sql"
SQL_FOLDER = _PACKAGED if _PACKAGED.is_dir() else _IN_CHECKOUT


def read_sql(name: str) -> str:
    """Gives the text of a file below sql/."""
    return (SQL_FOLDER / name).read_text(encoding="utf-8")
