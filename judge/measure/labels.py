"""What a judge is measured on: texts with the verdict that people, or their making, gave them.

One JSON object a line: `criterion`; `first` and `second` for a pairwise criterion, `candidate` for
any other; `label`; `context`, `reference`, `id`, `group` and `document` where there are some. A
label is one of the criterion's verdicts, or its word (a JSON text; of a pair, as it stands in the
line), or a number on its scale. `group` names what lines have in common (a way of corruption, a
source): agreement is also told for each. Lines of one `document` are not independent.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from pydantic import Field, ValidationError

from prewrite.base.config import Section, near
from prewrite.base.errors import InputError
from prewrite.judge.criteria import Criterion, Likelihood, PromptedCriterion
from prewrite.judge.judge import fence_for
from prewrite.judge.pool import Pool, Question


@dataclass(frozen=True)
class LabelledItem:
    """One thing to ask about: the one or two candidates of `pool`.

    label: 0..1, of the candidate or of the first of the pair; None where nobody knows. document:
    the one that it comes from; None: it is alone.
    """

    criterion: Criterion
    pool: Pool
    label: float | None = None
    group: str | None = None
    document: str | None = None

    def questions(self) -> list[Question]:
        """A pair is asked in both orders, one after the other; a single text once."""
        names = list(self.pool.candidates)
        if len(names) == 1:
            return [Question(self.criterion, self.pool, names[0])]
        first, second = names
        return [Question(self.criterion, self.pool, first, second, order) for order in (0, 1)]

    @property
    def fence(self) -> str:
        """The fence of its prompts; nothing is fenced where no prompt is made."""
        pool = self.pool
        texts = ["".join(pool.context), pool.reference, *pool.candidates.values()]
        return fence_for(self.criterion, texts)


class _Line(Section):
    criterion: str
    context: str = ""
    reference: str = ""
    first: str | None = Field(None, min_length=1)
    second: str | None = Field(None, min_length=1)
    candidate: str | None = Field(None, min_length=1)
    label: Any
    id: str | None = None
    group: str | None = None
    document: str | None = None


def read_labels(path: str, criteria: Sequence[Criterion]) -> list[LabelledItem]:
    """Every labelled item of a JSONL file, all in memory; InputError names file and line."""
    known = {criterion.name: criterion for criterion in criteria}
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise InputError(f"{path}: cannot read the labels: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: the labels are not UTF-8: {error}") from None
    items = [
        _item(line, known, f"{path}, line {number}")
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]
    if not items:
        raise InputError(f"{path}: no labels; one JSON object a line is accepted")
    return items


def _item(text: str, known: Mapping[str, Criterion], where: str) -> LabelledItem:
    line = _parsed(text, where)
    if line.criterion not in known:
        raise InputError(
            f"{where}: criterion: found '{line.criterion}';{near(line.criterion, known)} "
            f"accepted (see judge.criteria): {', '.join(known)}"
        )
    criterion = known[line.criterion]
    wanted = ("first", "second") if criterion.kind == "pairwise" else ("candidate",)
    found = {name: text for name in ("first", "second", "candidate")
             if (text := getattr(line, name)) is not None}  # fmt: skip
    if tuple(found) != wanted:
        raise InputError(
            f"{where}: found {' and '.join(found) or 'no text'}; "
            f"{criterion.name} is {criterion.kind} and takes {' and '.join(wanted)}"
        )
    context = (line.context,) if line.context else ()
    pool = Pool(line.id or where.rpartition(", ")[2], context, line.reference, found)
    label = _label(line.label, criterion, where)
    return LabelledItem(criterion, pool, label, line.group, line.document)


def _parsed(text: str, where: str) -> _Line:
    try:
        return _Line.model_validate(json.loads(text))
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0]) if first["loc"] else "the line"
        raise InputError(f"{where}: {key}: {first['msg']}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not JSON: {error}") from None


def _label(label: Any, criterion: Criterion, where: str) -> float:
    """The label as 0..1."""
    low, high = scale(criterion)
    named = _names(criterion)
    if isinstance(label, str):
        label = named.get(label, label)
    number = isinstance(label, int | float) and not isinstance(label, bool)
    if not number or not low <= label <= high:
        _refuse_label(label, criterion, where)
    return float((label - low) / (high - low))


def _refuse_label(found: Any, criterion: Criterion, where: str) -> NoReturn:
    low, high = scale(criterion)
    texts = "".join(f'"{verdict}", ' for verdict in _names(criterion))
    raise InputError(
        f"{where}: label: found {json.dumps(found)[:60]}; "
        f"accepted: {texts}or a number from {low:g} to {high:g}"
    )


def scale(criterion: Criterion) -> tuple[float, float]:
    """The lowest and the highest value of a criterion, as its file writes them."""
    low, high = (0.0, 1.0) if isinstance(criterion, Likelihood) else criterion.scale
    return low, high


def verdicts(criterion: Criterion) -> dict[str, float]:
    """The verdicts of a criterion on its scale; none where it answers with a number."""
    return criterion.verdicts if isinstance(criterion, PromptedCriterion) else {}


def _names(criterion: Criterion) -> dict[str, float]:
    """What a label may be called: the verdicts, as letters and as words."""
    found = verdicts(criterion)
    words = criterion.words if isinstance(criterion, PromptedCriterion) else {}
    return found | {words[name]: found[name] for name in words}


def classes(criterion: Criterion) -> tuple[float, ...]:
    """The distinct answers of a criterion as 0..1, rising: its verdicts, or the whole numbers of
    its scale.
    """
    low, high = scale(criterion)
    values = set(verdicts(criterion).values()) or {*range(int(low), int(high) + 1)}
    return tuple(sorted((value - low) / (high - low) for value in values))
