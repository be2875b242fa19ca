"""Which chunks to take: `rewrite_score > original_score and source == 'c4'`.

A filter is a condition on the columns of a set, in Python's spelling. It is parsed into an Arrow
expression and never evaluated as Python. A comparison with a null is false (`!=` and `not in`
too), so every condition is true or false, and `not (rewrite_score > 1)` holds where there is no
score. A number is compared with a score at the score's own precision, float32. `share(doc_id)` is
the one function: the number 0..1 of `input.share`, so `share(doc_id) < 0.9` and
`share(doc_id) >= 0.9` never have a document in common.
"""

import ast
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from prewrite.base.config import near
from prewrite.base.errors import ConfigError
from prewrite.base.share import share

Mask = NDArray[np.bool_]

_MOST = 500  # Arrow overruns its stack at some thousands; a long list behind `in` is one

SHARE = "share(doc_id)"
"""The function, and the column that it becomes while a table is looked at."""

_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


@dataclass(frozen=True)
class Filter:
    """A parsed condition, the columns it reads, and whether it asks for the share of a document."""

    text: str
    expression: pc.Expression
    columns: frozenset[str]
    shares: bool = False

    def mask(self, table: pa.Table) -> Mask:
        """For each row of `table` whether the condition holds."""
        import pyarrow.dataset as ds  # slow to import, for pandas comes with it

        if self.shares:
            table = table.append_column(SHARE, _shares(table["doc_id"].to_pylist()))
        # The stubs know neither the constructor's argument nor projections.
        memory: Any = ds.InMemoryDataset(table)  # type: ignore[call-arg]
        scanner = memory.scanner(columns={"keep": self.expression}, use_threads=False)  # in order
        keep = scanner.to_table()["keep"]
        return np.asarray(keep.to_numpy(), dtype=np.bool_)


def parse_filter(text: str, schema: pa.Schema, key: str) -> Filter:
    """The filter `text` on the columns of `schema`.

    ConfigError for anything but comparisons (chained too), `and`, `or`, `not`, `in (…)`,
    `is None`, names of columns, `share(doc_id)`, numbers and texts; `key` is the configuration key
    it names.
    """
    parser = _Parser(text, schema, key)
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        count = sum(isinstance(node, ast.cmpop) for node in ast.walk(tree))
        if count > _MOST:
            parser.refuse(f"{count} comparisons, more than {_MOST},")
        condition = parser.condition(tree)
        return Filter(text, condition, frozenset(parser.columns), parser.shares)
    except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError):
        parser.refuse("no condition")


class _Parser:
    def __init__(self, text: str, schema: pa.Schema, key: str) -> None:
        self.text, self.key, self.columns, self.shares = text, key, set[str](), False
        self.types = {field.name: field.type for field in schema}

    def refuse(self, found: str, hint: str = "") -> NoReturn:
        function = f"{SHARE}, " if "doc_id" in self.types else ""
        raise ConfigError(
            f"{self.key}: found {found} in `{self.text}`;{hint} accepted: comparisons, and, or, "
            f"not, in (…), is None; numbers, texts, {function}and the columns "
            f"{', '.join(self.types)}"
        )

    def condition(self, node: ast.expr) -> pc.Expression:
        match node:
            case ast.BoolOp(op=ast.And()):
                return reduce(operator.and_, map(self.condition, node.values))
            case ast.BoolOp():
                return reduce(operator.or_, map(self.condition, node.values))
            case ast.UnaryOp(op=ast.Not()):
                return ~self.condition(node.operand)
            case ast.Compare():
                sides = [node.left, *node.comparators]
                links = zip(sides, node.ops, sides[1:], strict=False)
                return reduce(operator.and_, [self.comparison(*link) for link in links])
        self.refuse(f"'{ast.unparse(node)}'")

    def comparison(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> pc.Expression:
        if isinstance(op, ast.Is | ast.IsNot):
            if not (isinstance(right, ast.Constant) and right.value is None):
                self.refuse(f"'{ast.unparse(right)}' after is")
            missing = self.column(left).is_null()
            return missing if isinstance(op, ast.Is) else ~missing
        if isinstance(op, ast.In | ast.NotIn):
            if not isinstance(right, ast.Tuple | ast.List | ast.Set):
                self.refuse(f"'{ast.unparse(right)}' after in")
            column, found = self.column(left), self.contained(left, right.elts)
            return found if isinstance(op, ast.In) else ~found & column.is_valid()
        return self.compared(left, _COMPARISONS[type(op)], right)

    def contained(self, column: ast.expr, items: Sequence[ast.expr]) -> pc.Expression:
        kind = self.kind(column)
        values = [self.literal(item) for item in items]
        for item, value in zip(items, values, strict=True):
            if pa.types.is_string(kind) != isinstance(value, str):
                self.refuse(f"'{ast.unparse(column)}' beside '{ast.unparse(item)}'")
        same = pa.types.is_string(kind) or pa.types.is_floating(kind) or not values
        return self.column(column).isin(pa.array(values, kind if same else None))

    def compared(
        self, left: ast.expr, op: Callable[[Any, Any], Any], right: ast.expr
    ) -> pc.Expression:
        kinds = [self.kind(side) for side in (left, right)]
        if pa.types.is_string(kinds[0]) != pa.types.is_string(kinds[1]):
            self.refuse(f"'{ast.unparse(left)}' beside '{ast.unparse(right)}'")
        sides = (self.operand(left, kinds), self.operand(right, kinds))
        holds: pc.Expression = pc.coalesce(op(*sides), pc.scalar(False))
        return holds

    def kind(self, node: ast.expr) -> pa.DataType:
        """The type of a column, literal or share; a dictionary's is that of its values."""
        if name := _name(node):
            self.column(node)
            return _values(self.types[name])
        if isinstance(node, ast.Call) and ast.unparse(node) == SHARE:
            self.column(node.args[0])
            self.shares = True
            return pa.float64()
        return pa.scalar(self.literal(node)).type

    def operand(self, node: ast.expr, kinds: Sequence[pa.DataType]) -> pc.Expression:
        if _name(node):
            return self.column(node)
        if isinstance(node, ast.Call):  # `kind` knows no other
            return pc.field(SHARE)
        value: Any = self.literal(node)
        if pa.float32() in kinds:
            value = pa.scalar(float(value), pa.float32())
        return pc.scalar(value)

    def column(self, node: ast.expr) -> pc.Expression:
        name = _name(node)
        if name is None:
            self.refuse(f"'{ast.unparse(node)}'")
        if name not in self.types:
            self.refuse(f"the name '{name}'", near(name, self.types))
        self.columns.add(name)
        return pc.field(name).cast(_values(self.types[name]))

    def literal(self, node: ast.expr) -> str | int | float:
        match node:
            case ast.Constant(value=str() | int() | float() as value) if not isinstance(
                value, bool
            ):
                return value
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
                return -value
        self.refuse(f"'{ast.unparse(node)}'")


def _name(node: ast.expr) -> str | None:
    """What a node names: `column`, or `outer.inner`, as files of prompts have them."""
    if isinstance(node, ast.Attribute):
        outer = _name(node.value)
        return outer and f"{outer}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else None


def _values(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if isinstance(kind, pa.DictionaryType) else kind


def _shares(doc_ids: Sequence[str | None]) -> "pa.Array[Any]":
    """The share of each; of an id that many rows have it is computed once."""
    known = {one: share(one) for one in dict.fromkeys(doc_ids) if one is not None}
    return pa.array([known.get(one) if one is not None else None for one in doc_ids], pa.float64())
