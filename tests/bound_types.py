"""What a query loses of a figure, by the types that DuckDB binds it to.

Where two decimals of 38 digits meet in a `union`, `case`, `coalesce` or `greatest`, DuckDB gives both the fewer
decimals of the two without a word: `coalesce(0.000001::decimal(38, 6), 0::decimal(38, 4))` is 0. No line of SQL shows
it, so the plan is asked.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import duckdb

INEXACT = {"DOUBLE", "FLOAT"}


@dataclass(frozen=True)
class Loss:
    """A cast after which a decimal has fewer decimals, or is a float; `is_written` where the query says so itself."""

    text: str
    decimals_before: int
    decimals_after: int | None
    is_written: bool


def losses(engine: duckdb.DuckDBPyConnection, sql: str) -> list[Loss]:
    """Every place of a query where a decimal may lose something.

    :param engine: has the tables that the query reads
    """
    asked = engine.execute(f"select json_serialize_plan($query${sql}\n$query$, optimize := false)").fetchone()
    assert asked
    plan = json.loads(asked[0])
    assert not plan["error"], plan
    return [loss for node in _casts(plan) if (loss := _loss(node, sql.encode()))]


def _casts(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if node.get("type") == "OPERATOR_CAST":
            yield node
        node = list(node.values())
    if isinstance(node, list):
        for inner in node:
            yield from _casts(inner)


def _loss(cast: dict[str, Any], query: bytes) -> Loss | None:
    """A cast that the binder adds stands where its argument does, which may be a cast that is written."""
    (before,), after, (argument,) = cast["arguments"], cast["return_type"], cast["children"]
    if before["id"] != "DECIMAL" or after["id"] not in INEXACT | {"DECIMAL"}:
        return None
    scale_before = before["type_info"]["scale"]
    scale_after = None if after["id"] in INEXACT else after["type_info"]["scale"]
    if scale_after is not None and scale_after >= scale_before:
        return None
    at = cast["query_location"]
    text = query[at : at + 60].split(b"\n")[0].decode() if at < len(query) else ""
    is_written = text.startswith("cast(") and argument["query_location"] != at
    return Loss(text, scale_before, scale_after, is_written)
