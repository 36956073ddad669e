"""Finds the keys of usage rows that come more than once, so that all other rows need not be told apart."""

import duckdb

SORTED_FROM_ROWS = 500_000  # below, loading numpy takes longer than it saves


def find_repeats(engine: duckdb.DuckDBPyConnection) -> None:
    """Makes `usage_keys_repeated`: the hashes of keys that more than one row of `known_usage` has.

    Sorting the bare hashes takes a fraction of the time in which the engine groups them. Two keys may share a hash; the
    stages compare the keys themselves.
    """
    ((rows,),) = engine.table("known_usage").aggregate("count(*)").fetchall()
    if rows < SORTED_FROM_ROWS:
        engine.execute(
            "create or replace table usage_keys_repeated as "
            "select key_hash from known_usage group by key_hash having count(*) > 1"
        )
    else:
        _find_by_sorting(engine)


def _find_by_sorting(engine: duckdb.DuckDBPyConnection) -> None:
    import numpy as np  # noqa: PLC0415
    import pyarrow as pa  # noqa: PLC0415

    hashes = engine.table("known_usage").project("key_hash").fetchnumpy()["key_hash"]
    hashes.sort()
    repeated = np.unique(hashes[1:][hashes[1:] == hashes[:-1]])
    engine.execute("drop table if exists usage_keys_repeated")
    engine.from_arrow(pa.table({"key_hash": repeated})).create("usage_keys_repeated")
