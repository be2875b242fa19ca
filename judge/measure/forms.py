"""A criterion in the other forms that its verdicts can have, for the report to compare: as letters,
as words, in both assignments of the letters.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace

from prewrite.base.errors import EngineError
from prewrite.judge.config import JudgeConfig
from prewrite.judge.criteria import Criterion, PromptedCriterion
from prewrite.judge.judge import Judge
from prewrite.judge.measure.labels import LabelledItem


def compared(
    items: Sequence[LabelledItem], config: JudgeConfig, panel: Sequence[Judge]
) -> list[LabelledItem]:
    """The items, and those about a criterion that has words once more in each other form that all
    judges can say; the form is then in its name. Reasoned verdicts have one form.
    """
    names = dict.fromkeys(item.criterion.name for item in items)
    found = [*items]
    for name in names if config.readout == "distribution" else ():
        mine = [item for item in items if item.criterion.name == name]
        for form in _other_forms(mine[0].criterion, names):
            if all(_can_say(judge, form) for judge in panel):
                found += [replace(item, criterion=form) for item in mine]
    return found


def _other_forms(criterion: Criterion, taken: Collection[str]) -> list[PromptedCriterion]:
    if not isinstance(criterion, PromptedCriterion) or not criterion.words:
        return []
    own, words = criterion.form, criterion.words
    letters = criterion.renamed(words) if own == "words" else criterion
    forms = {
        "letters": letters.changed(form="letters"),
        "words": criterion if own == "words" else letters.changed(form="words").as_asked,
        "both": letters.changed(form="both") if criterion.kind == "pointwise" else None,
    }
    named = {f"{criterion.name}_{form}": one for form, one in forms.items() if one and form != own}
    return [one.changed(name=name) for name, one in named.items() if name not in taken]


def _can_say(judge: Judge, criterion: PromptedCriterion) -> bool:
    """Whether each verdict is one token of the judge; said where it is not."""
    try:
        if judge.engine:
            judge.engine.check_verdicts(criterion.verdicts)
    except EngineError as error:
        print(f"{criterion.name} is not compared: {judge.name}: {error}")
        return False
    return True
