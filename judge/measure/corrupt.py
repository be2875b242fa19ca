"""`prewrite judge corrupt --config FILE`: label-free labels. Texts of the set at `judge.input` are
corrupted, so that everybody knows which text is the worse one: `output`/corrupted.jsonl, for
`judge.measure.labels`.

A pair is an original and its corruption, each as often first as second. A pointwise factuality line
has the original as reference and its first three quarters as candidate, every other one with false
names and numbers; so neither length nor likeness to the reference gives the label away. Only
criteria for which a corruption has a known label get lines. No model is asked, and the same seed
gives the same lines.
"""

import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from prewrite.base.errors import InputError
from prewrite.base.files import Folder
from prewrite.judge.criteria import Criterion, load_criterion
from prewrite.judge.measure.config import MeasuredRecipe
from prewrite.judge.measure.labels import scale, verdicts, write_labels
from prewrite.judge.measure.sample import SampledRow, sample

FILE = "corrupted.jsonl"

Chance = random.Random
Corruption = Callable[[str, str, Chance], str | None]
"""(text, a text of another document, chance) → the worse text; None where it does not apply."""

_SENTENCES = re.compile(r"((?<=[.!?])\s+|(?<=[。！？]))")
_WORDS = re.compile(r"\s*\S+")
_NUMBERS = re.compile(r"\d+")
_CAPITAL = "A-ZÀ-ÞΑ-ΩА-Я"
_LOWER = rf"[^\W\d_{_CAPITAL}]"
_NAMES = re.compile(rf"(?:(?<={_LOWER} )|(?<={_LOWER}, ))[{_CAPITAL}]\w+(?: [{_CAPITAL}]\w+)*")
"""Capitalised words that do not begin a sentence."""


def shuffled(text: str, other: str, draw: Chance) -> str | None:
    """The sentences in another order; the white space between them stays."""
    parts = _SENTENCES.split(text)
    sentences = parts[::2]
    if len({sentence.strip() for sentence in sentences}) < 3:
        return None
    while parts[::2] == sentences:
        parts[::2] = draw.sample(sentences, len(sentences))
    return "".join(parts)


def repeated(text: str, other: str, draw: Chance) -> str | None:
    """Some words over and over in place of the second half; as many words as before."""
    words = _WORDS.findall(text)
    if len(words) < 24:
        return None
    span, begin = draw.randint(6, 10), draw.randrange(len(words) // 4, len(words) // 2)
    loop = words[begin : begin + span]
    rest = len(words) - begin - span
    return "".join(words[: begin + span] + (loop * rest)[:rest])


def truncated(text: str, other: str, draw: Chance) -> str | None:
    """The first third."""
    words = _WORDS.findall(text)
    return "".join(words[: len(words) // 3]) if len(words) >= 24 else None


def inserted(text: str, other: str, draw: Chance) -> str | None:
    """Twelve words of another document in the midst."""
    words, foreign = _WORDS.findall(text), other.split()
    if len(words) < 12 or len(foreign) < 12:
        return None
    place = draw.randrange(len(words) // 4, 3 * len(words) // 4)
    begin = draw.randrange(len(foreign) - 11)
    return "".join([*words[:place], " ", " ".join(foreign[begin : begin + 12]), *words[place:]])


def falsified(text: str, other: str, draw: Chance) -> str | None:
    """Two names exchanged and every number another of as many digits, where there are some."""
    numbered = _NUMBERS.sub(lambda found: _other_number(found[0], draw), text)
    names = sorted(set(_NAMES.findall(numbered)))
    if len(names) > 1:
        a, b = draw.sample(names, 2)
        either = "|".join(re.escape(name) for name in sorted((a, b), key=len, reverse=True))
        numbered = re.sub(rf"\b({either})\b", lambda f: b if f[0] == a else a, numbered)
    return numbered if numbered != text else None


def _other_number(digits: str, draw: Chance) -> str:
    low = 10 ** (len(digits) - 1) if len(digits) > 1 else 0
    found = digits
    while found == digits:
        found = str(draw.randrange(low, 10 ** len(digits)))
    return found


CORRUPTIONS: dict[str, Corruption] = {
    "shuffled": shuffled,
    "repeated": repeated,
    "truncated": truncated,
    "inserted": inserted,
    "falsified": falsified,
}

KNOWN = {"quality": tuple(CORRUPTIONS), "coherence": ("repeated",), "factuality": ("falsified",)}
"""Criterion → the corruptions whose label it is known to have."""


def lines(
    criterion: Criterion, sampled: Sequence[SampledRow], seed: int
) -> Iterator[dict[str, Any]]:
    """Label lines of one criterion, at most one a row: what comes from one text is not independent.

    The corruptions take turns; a row to which none applies gives no line.
    """
    draw = random.Random(f"{seed} {criterion.name}")  # noqa: S311  (texts, no secret)
    kinds, made = KNOWN.get(criterion.name, ()), Counter[str]()
    for row, context in sampled:
        others = [one["original"] for one, _ in sampled if one["doc_id"] != row["doc_id"]]
        other = draw.choice(others) if others else ""
        text = row["original"]
        if criterion.kind != "pairwise":
            words = _WORDS.findall(text)
            text = "".join(words[: 3 * len(words) // 4])
        for kind in sorted(kinds, key=lambda kind: made[kind]):
            if worse := CORRUPTIONS[kind](text, other, draw):
                place = {"id": row["id"], "document": row["doc_id"], "context": "".join(context)}
                told = _told(criterion, row["original"], text, worse, kind, made[kind])
                yield {"criterion": criterion.name} | place | told
                made[kind] += 1
                break


def _told(
    criterion: Criterion, original: str, text: str, worse: str, kind: str, number: int
) -> dict[str, Any]:
    """Texts and label; even numbers have the better text first, or are the worse one alone."""
    values: dict[Any, float] = dict(verdicts(criterion)) or {end: end for end in scale(criterion)}
    worst, *_, best = sorted(values, key=lambda verdict: values[verdict])
    even = number % 2 == 0
    if criterion.kind == "pairwise":
        first, second = (text, worse) if even else (worse, text)
        return {"first": first, "second": second, "label": best if even else worst, "group": kind}
    told = {"reference": original}
    if even:
        return told | {"candidate": worse, "label": worst, "group": kind}
    return told | {"candidate": text, "label": best, "group": "true"}


def run(recipe: MeasuredRecipe) -> None:
    """Write the labels and say how many of which."""
    judge = recipe.judge
    rows, seed = recipe.measure.corrupt.rows, recipe.measure.corrupt.seed
    sampled = sample(recipe.texts, rows, seed, judge.max_context_tokens)
    found = []
    for criterion in (load_criterion(name) for name in judge.criteria):
        mine = list(lines(criterion, sampled, seed))
        found += mine
        groups = Counter(line["group"] for line in mine)
        told = ", ".join(f"{count} {group}" for group, count in sorted(groups.items()))
        print(f"{criterion.name}: {told or 'no corruption has a known label'}")
    if not found:
        raise InputError(
            f"{recipe.texts}: no text could be corrupted for {', '.join(judge.criteria)}; "
            f"accepted: criteria named {', '.join(KNOWN)}"
        )
    Folder(recipe.output).write(FILE, write_labels(found))
    print(f"{len(found)} lines; read them with measure.report.labels={recipe.output}/{FILE}")


def plan(recipe: MeasuredRecipe) -> str:
    """What `run` would do."""
    return f"corrupt {recipe.measure.corrupt.rows} rows of {recipe.texts} → {recipe.output}/{FILE}"
