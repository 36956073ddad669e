"""Plants faults in a stage, one at a time, on its parsed SQL: each a slip that a tired person makes and a diff hides.

An operator looks at one node of the tree and gives what it could wrongly be instead. The list is fixed: a stage that
joins later meets the same operators.
"""

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Any

import sqlglot
from sqlglot import exp

from usage_rating.stages import Stage

logging.getLogger("sqlglot").setLevel(logging.ERROR)  # it warns of SHA-256, which it writes as it should

Node = exp.Expr
Operator = Callable[[Node], Iterator[Node]]

# What a column holds follows from its name (STYLE, Code).
DATE = re.compile(r".*_date|cycle_(start|end)|service_(start|end)|next_cycle_start|as_of|effective_(from|until)")
INSTANT = re.compile(r".*_at|(active|plan|segment|span)_(from|until)|instant|issued_until")
A_DAY = "1"
A_MICROSECOND = "interval '1 microsecond'"
SHORT, SHOWN = 12, 100


@dataclass(frozen=True, eq=False)
class Fault:
    """A stage with one fault in it: another node at one place of its tree."""

    stage: Stage
    operator: str
    place: int
    node: Node
    wrong: Node
    repeat: int = 1

    @property
    def line(self) -> str:
        """The file and line where it was planted."""
        return f"sql/{self.stage.number:03}_{self.stage.name}.sql:{line_of(self.node)}"

    @property
    def name(self) -> str:
        """What the list of survivors calls it; it holds until the stage's own text changes."""
        repeat = f" ({self.repeat})" if self.repeat > 1 else ""
        return f"{self.stage.number:03}_{self.stage.name}: {self.operator}: {change(self.node, self.wrong)}{repeat}"

    @cached_property
    def planted(self) -> Stage:
        """The stage as it would run."""
        tree = with_replaced(self.node.root(), self.place, self.wrong)
        return replace(self.stage, sql=text_of(tree))


def faults_in(stage: Stage) -> list[Fault]:
    """Every fault the operators can plant in a stage, from its first line to its last."""
    names = Counter[str]()
    faults = []
    for place, node in enumerate(parsed(stage).walk()):
        for operator, wrong in wrongs_for(node):
            fault = Fault(stage, operator, place, node, wrong)
            names[fault.name] += 1
            faults.append(replace(fault, repeat=names[fault.name]))
    return sorted(faults, key=lambda fault: (line_of(fault.node), fault.place))


def parsed(stage: Stage) -> Node:
    """The stage's one statement."""
    return sqlglot.parse_one(stage.sql, dialect="duckdb")


def text_of(node: Node) -> str:
    """A tree as DuckDB's SQL, on one line."""
    sql: str = node.sql(dialect="duckdb", comments=False)
    return sql


def with_replaced(tree: Node, place: int, wrong: Node) -> Node:
    """A copy of a tree with the node at a place of the walk replaced."""
    copy = tree.copy()
    node = next(islice(copy.walk(), place, None))
    if node is copy:
        return wrong.copy()
    node.replace(wrong.copy())
    return copy


def change(node: Node, wrong: Node) -> str:
    """What a fault changes, in short."""
    right, other = text_of(node), text_of(wrong)
    if len(right) < SHORT and node.parent:
        parent = node.parent.copy()
        place = next(place for place, child in enumerate(node.parent.walk()) if child is node)
        right, other = text_of(node.parent), text_of(with_replaced(parent, place, wrong))
    if max(len(right), len(other)) <= SHOWN:
        return f"{right} -> {other}"
    words, other_words = right.split(" "), other.split(" ")
    start = longest_common_start(words, other_words)
    end = longest_common_start(words[start:][::-1], other_words[start:][::-1])
    begin, after = max(start - 2, 0), max(end - 3, 0)
    return " -> ".join(cut(text[begin : len(text) - after]) for text in (words, other_words))


def longest_common_start(left: list[str], right: list[str]) -> int:
    """How many words two texts begin with alike."""
    pairs = zip(left, right, strict=False)
    return next((place for place, (one, other) in enumerate(pairs) if one != other), min(len(left), len(right)))


def cut(words: list[str]) -> str:
    """A text of moderate length."""
    text = " ".join(words)
    return text if len(text) <= SHOWN else f"{text[: SHOWN // 2]}...{text[-SHOWN // 2 :]}"


def line_of(node: Node) -> int:
    """The line of the file on which a node's first word with a place stands."""
    lines = [int(part.meta["line"]) for part in node.walk() if "line" in part.meta]
    return min(lines, default=line_of(node.parent) if node.parent else 0)


def wrongs_for(node: Node) -> Iterator[tuple[str, Node]]:
    """What a node could wrongly be, by operator."""
    for name, operator in OPERATORS.items():
        for wrong in operator(node):
            yield name, wrong


# ---- operators


def turned(pairs: dict[type[Node], type[Node]]) -> Operator:
    """Makes an operator that takes one kind of node for another, its arguments kept."""

    def operator(node: Node) -> Iterator[Node]:
        if type(node) in pairs:
            yield pairs[type(node)](**node.copy().args)

    return operator


def both_ways(pairs: dict[type[Node], type[Node]]) -> dict[type[Node], type[Node]]:
    """The pairs, and the same from the right to the left."""
    return pairs | {right: left for left, right in pairs.items()}


def lost_condition(node: Node) -> Iterator[Node]:
    """One of several conditions joined by `and` or `or`, or the only one of a where, a having or a join."""
    if isinstance(node, exp.And | exp.Or):
        yield node.this
        if not isinstance(node.this, type(node)):
            yield node.expression
    is_whole = isinstance(node.parent, exp.Where | exp.Having | exp.Join) and node.arg_key in ("this", "on")
    if is_whole and isinstance(node, exp.Condition) and not isinstance(node, exp.And):
        yield exp.true()


def lost_partition_key(node: Node) -> Iterator[Node]:
    """A window over too much."""
    keys = node.args.get("partition_by") if isinstance(node, exp.Window) else None
    for place in range(len(keys or [])):
        wrong = node.copy()
        del wrong.args["partition_by"][place]
        yield wrong


def other_order(node: Node) -> Iterator[Node]:
    """Ascending for descending; empty values stay last."""
    if isinstance(node, exp.Ordered):
        wrong = node.copy()
        wrong.set("desc", not node.args.get("desc"))
        yield wrong


def moved(pattern: re.Pattern[str], step: str) -> Operator:
    """Makes an operator that is one step off where dates or instants are compared, or given a name.

    A step that only turns `<` into `<=` is left to that operator.
    """

    off_by = sqlglot.parse_one(step, dialect="duckdb")

    def operator(node: Node) -> Iterator[Node]:
        is_compared = isinstance(node, exp.EQ | exp.NEQ | exp.LT | exp.LTE | exp.GT | exp.GTE)
        is_named = isinstance(node, exp.Alias) and pattern.fullmatch(node.alias)
        part = "expression" if is_compared and holds(node.this, pattern) else "this" if is_named else ""
        if part and list(node.find_all(exp.Column)):
            wrong = node.copy()
            kind = exp.Sub if isinstance(node, exp.LT | exp.GTE) else exp.Add
            wrong.set(part, kind(this=exp.paren(node.args[part].copy()), expression=off_by.copy()))
            yield wrong

    return operator


def holds(node: Node, pattern: re.Pattern[str]) -> bool:
    """Whether a side of a comparison is a column whose name says what it holds."""
    columns = list(node.find_all(exp.Column))
    return bool(columns) and all(pattern.fullmatch(column.name) for column in columns)


def other_join(node: Node) -> Iterator[Node]:
    """Inner for left, left for inner, and half of a full one."""
    if isinstance(node, exp.Join) and node.args.get("on"):
        wrong = node.copy()
        side = str(node.args.get("side") or "").lower()
        wrong.set("side", {"": "left", "left": None, "full": "left"}[side])
        wrong.set("kind", None)
        yield wrong


def other_frame(node: Node) -> Iterator[Node]:
    """A running figure that forgets, or that takes in the row itself."""
    if not isinstance(node, exp.WindowSpec):
        return
    for part, was, wrong_value in (("start", "UNBOUNDED", "1"), ("end", "1", "CURRENT ROW")):
        value = node.args.get(part)
        if str(value).upper() == was or text_if_node(value) == was:
            wrong = node.copy()
            wrong.set(part, wrong_value)
            if wrong_value == "CURRENT ROW":
                wrong.set(f"{part}_side", None)
            yield wrong


def text_if_node(value: Any) -> str:
    """The text of what may be a node."""
    return text_of(value) if isinstance(value, Node) else ""


def lost_branch(node: Node) -> Iterator[Node]:
    """One select of a union."""
    if isinstance(node, exp.Union):
        for kept in (node.this, node.expression):
            wrong = kept.copy()
            if node.args.get("with_"):
                wrong.set("with_", node.args["with_"].copy())
            yield wrong


def lost_coalesce(node: Node) -> Iterator[Node]:
    """An empty value that nobody thought of."""
    if isinstance(node, exp.Coalesce):
        yield node.this


def other_case(node: Node) -> Iterator[Node]:
    """Two neighbouring results of a case changed round, one branch lost, or its else."""
    if not isinstance(node, exp.Case):
        return
    branches = node.args["ifs"]
    for place in range(len(branches) - 1):
        wrong = node.copy()
        first, second = wrong.args["ifs"][place : place + 2]
        first_result, second_result = first.args["true"], second.args["true"]
        first.set("true", second_result.copy())
        second.set("true", first_result.copy())
        yield wrong
    if node.args.get("default"):
        wrong = node.copy()
        result, otherwise = wrong.args["ifs"][-1].args["true"].copy(), wrong.args["default"].copy()
        wrong.args["ifs"][-1].set("true", otherwise)
        wrong.set("default", result)
        yield wrong
        wrong = node.copy()
        wrong.set("default", None)
        yield wrong
    for place in range(len(branches) if len(branches) > 1 else 0):
        wrong = node.copy()
        del wrong.args["ifs"][place]
        yield wrong


def other_number(node: Node) -> Iterator[Node]:
    """0 for 1, 1 for 0, any other whole number one more."""
    is_whole = isinstance(node, exp.Literal) and not node.is_string and node.name.isdigit()
    if is_whole and not isinstance(node.parent, exp.DataTypeParam | exp.Group | exp.WindowSpec | exp.SHA2):
        yield exp.Literal.number("0" if node.name == "1" else str(int(node.name) + 1))


def other_sign(node: Node) -> Iterator[Node]:
    """Plus for minus, minus for plus, a minus lost."""
    if isinstance(node, exp.Neg):
        yield node.this
    elif isinstance(node, exp.Add | exp.Sub):
        yield (exp.Sub if isinstance(node, exp.Add) else exp.Add)(**node.copy().args)


def lost_not(node: Node) -> Iterator[Node]:
    """`not` lost or put before a bare flag, `is null` for `is not null` and back."""
    if isinstance(node, exp.Not):
        yield node.this
    elif isinstance(node, exp.Is) and not isinstance(node.parent, exp.Not):
        yield exp.not_(node.copy())


def lost_distinct(node: Node) -> Iterator[Node]:
    """Rows that come more than once."""
    if isinstance(node, exp.Select) and node.args.get("distinct"):
        wrong = node.copy()
        wrong.set("distinct", None)
        yield wrong


def lost_member(node: Node) -> Iterator[Node]:
    """One of several allowed words, or of the parts of what an extreme is told by."""
    is_key = isinstance(node, exp.Struct) and node.find_ancestor(exp.ArgMax, exp.ArgMin)
    members = node.expressions if is_key or isinstance(node, exp.In) else []
    for place in range(len(members)):
        wrong = node.copy()
        del wrong.args["expressions"][place]
        yield wrong


OPERATORS: dict[str, Operator] = {
    "open for closed": turned(both_ways({exp.LT: exp.LTE, exp.GT: exp.GTE})),
    "equal for unequal": turned(both_ways({exp.EQ: exp.NEQ})),
    "least for most": turned(both_ways({exp.Min: exp.Max, exp.Least: exp.Greatest, exp.ArgMin: exp.ArgMax})),
    "most for all": turned({exp.Sum: exp.Max}),
    "before for after": turned(both_ways({exp.Lag: exp.Lead, exp.FirstValue: exp.LastValue})),
    "lost condition": lost_condition,
    "lost partition key": lost_partition_key,
    "other order": other_order,
    "a day off": moved(DATE, A_DAY),
    "a microsecond off": moved(INSTANT, A_MICROSECOND),
    "other join": other_join,
    "other frame": other_frame,
    "lost branch": lost_branch,
    "lost coalesce": lost_coalesce,
    "other case": other_case,
    "other number": other_number,
    "other sign": other_sign,
    "lost not": lost_not,
    "lost distinct": lost_distinct,
    "lost member": lost_member,
}
