"""Published tables as pandas data frames, with exact decimals."""

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from usage_rating.errors import BadInput
from usage_rating.tables import TABLES


def frame(output: Path | str, table: str) -> pd.DataFrame:
    """Reads a published table of the last committed night.

    Columns keep their Arrow types: amounts are exact decimals, instants know UTC, nothing turns into a float.

    :param output: the output folder of `usage-rating run`
    :param table: a published table, such as `invoices`
    :raises BadInput: there is no such table, or no night yet
    """
    if table not in TABLES:
        raise BadInput([f"'{table}' is no published table. Choose {', '.join(TABLES)}."])
    night = (Path(output) / "current").resolve()
    files = sorted((night / table).glob("*.parquet"))
    if not files:
        raise BadInput([f"{output}: holds no published night. Run `usage-rating run` first."])
    read: pd.DataFrame = pq.read_table(files).to_pandas(types_mapper=pd.ArrowDtype)
    return read
