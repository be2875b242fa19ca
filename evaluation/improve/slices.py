"""Which documents a round reads, and that no other round reads them again."""

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from prewrite.base.apart import lies_in
from prewrite.base.errors import ConfigError
from prewrite.evaluation.command_steps import CommandStep, Plain

_ALL = (0.0, 1.0)
_BELOW, _ABOVE = (ast.Lt, ast.LtE), (ast.Gt, ast.GtE)


@dataclass(frozen=True)
class DocumentsRead:
    """What a step of a round reads that no round has made: a place, and the documents there by
    their share, from `first` to before `last`.
    """

    round: int
    step: str
    place: str
    first: float
    last: float


def documents_read(
    number: int, step: CommandStep, recipe: Plain, output: str
) -> Iterator[DocumentsRead]:
    """What a step of the round `number` reads from outside of `output`."""
    if step.command == "rewrite" and (paths := recipe.input.get("paths")):
        first, last = recipe.input.get("share") or _ALL
        yield DocumentsRead(number, step.name, ", ".join(paths), first, last)
    for one in recipe.train.get("data", []) if step.command == "train" else ():
        if not lies_in(one["set"], output):
            yield DocumentsRead(number, step.name, one["set"], *share_of(one.get("filter")))


def refuse_again(read: Sequence[DocumentsRead]) -> None:
    """ConfigError where two rounds read the same documents."""
    for one in read:
        for other in read:
            again = one.place == other.place and one.first < other.last and other.first < one.last
            if other.round < one.round and again:
                raise ConfigError(
                    f"{one.step}: found documents {one.first:g} to {one.last:g} of {one.place}, "
                    f"and {other.first:g} to {other.last:g} of them in {other.step}; accepted: "
                    "slices that no two rounds share, such as input.share=[{from},{to}], or a "
                    "filter with share(doc_id) >= {from} and share(doc_id) < {to}"
                )


def share_of(text: str | None) -> tuple[float, float]:
    """From where to where a filter takes `share(doc_id)`; all of it where it does not say so by
    comparisons that are joined by `and`.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body if text else None
    except SyntaxError:
        return _ALL
    joined = isinstance(tree, ast.BoolOp) and isinstance(tree.op, ast.And)
    terms = tree.values if joined and isinstance(tree, ast.BoolOp) else [tree]
    ends = [end for term in terms if isinstance(term, ast.Compare) for end in _ends(term)]
    firsts, lasts = ([value for low, value in ends if low == side] for side in (True, False))
    return max([_ALL[0], *firsts]), min([_ALL[1], *lasts])


def _ends(chain: ast.Compare) -> Iterator[tuple[bool, float]]:
    """Whether it is a lower end, and where it lies, for each comparison with the share."""
    sides = [chain.left, *chain.comparators]
    for left, op, right in zip(sides, chain.ops, sides[1:], strict=False):
        number = right if _is_share(left) else left if _is_share(right) else None
        if isinstance(number, ast.Constant) and isinstance(op, _BELOW + _ABOVE):
            yield isinstance(op, _ABOVE) == _is_share(left), float(str(number.value))


def _is_share(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node) == "share(doc_id)"
