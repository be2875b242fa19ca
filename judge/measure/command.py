"""`prewrite judge report --config FILE`: measure the judge of a recipe on labels, or on a sample
of `judge.input`, into `output`/report/index.html and report.json.

It costs the verdicts: two for each pair, one for each single text, times the votes, of each judge;
and with `measure.report.canaries` some 400 more a criterion, twice that for a pairwise one.
"""

import asyncio
import json
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path

from rich import box
from rich.table import Column, Table

from prewrite.base.console import PlainConsole
from prewrite.base.errors import ConfigError, InputError
from prewrite.base.files import Folder
from prewrite.judge.config import heads
from prewrite.judge.criteria import Criterion, load_criterion
from prewrite.judge.judge import load_judges
from prewrite.judge.measure.asking import Judging, judging
from prewrite.judge.measure.build import build
from prewrite.judge.measure.canaries import measure
from prewrite.judge.measure.config import MeasuredRecipe
from prewrite.judge.measure.forms import compared
from prewrite.judge.measure.labels import LabelledItem, read_labels
from prewrite.judge.measure.measures import Measure, none
from prewrite.judge.measure.page import page
from prewrite.judge.measure.report import Report
from prewrite.judge.measure.sample import labelled, sample, unlabelled
from prewrite.judge.pool import Question
from prewrite.judge.readout import Verdict
from prewrite.judge.unread import refuse_unread

HTML, JSON = "report/index.html", "report/report.json"


def run(recipe: MeasuredRecipe) -> None:
    """Measure, write both files, print the summary; EngineError where nothing could be read."""
    items, source = texts(recipe)
    judge, settings = recipe.judge, recipe.measure.report
    config, criteria = judge.model_dump(mode="json"), list(map(load_criterion, judge.criteria))
    panel = load_judges(judge, recipe.engines, criteria)
    items, each = compared(items, judge, panel), [judging(one) for one in panel]
    played = partial(flips, {one.name for one in criteria}) if settings.canaries else None
    report = asyncio.run(build(each, items, source, config, settings.seed, played))
    refuse_unread("judge report", [(one.name, one.tally) for one in panel])
    folder = Folder(recipe.output)
    folder.write(JSON, (json.dumps(report.as_json(), indent=1) + "\n").encode("utf-8", "replace"))
    folder.write(HTML, page(report).encode("utf-8", "replace"))
    PlainConsole().print(summary(report))
    print(f"{recipe.output}/{HTML}")


def texts(recipe: MeasuredRecipe) -> tuple[list[LabelledItem], str]:
    """The items to ask about, and a phrase on where they come from."""
    judge, report = recipe.judge, recipe.measure.report
    criteria = [load_criterion(name) for name in judge.criteria]
    if report.labels:
        items = _labelled(recipe, report.labels, criteria)
        return items, f"{len(items)} labelled items of {report.labels}"
    sampled = sample(recipe.texts, report.rows, report.seed, judge.max_context_tokens)
    items = unlabelled(sampled, criteria)
    if not items:
        raise ConfigError(f"judge.input: found no row to judge in {recipe.texts}")
    return items, f"{len(sampled)} rows of {recipe.texts}, without labels"


def _labelled(
    recipe: MeasuredRecipe, labels: str, criteria: Sequence[Criterion]
) -> list[LabelledItem]:
    """The items of a file, or of a sample of a set."""
    if not ("://" in labels or Path(labels).is_dir()):
        return read_labels(labels, criteria)
    report = recipe.measure.report
    sampled = sample(labels, report.rows, report.seed, recipe.judge.max_context_tokens)
    items = labelled(sampled, criteria)
    if not items:
        names = ", ".join(criterion.name for criterion in criteria)
        raise InputError(
            f"{labels}: found no labels for {names}; accepted: a set with scores on one of "
            "judge.criteria, whose reference is not the original where it compares"
        )
    return items


async def flips(
    names: Collection[str], judging: Judging, criteria: Sequence[Criterion]
) -> dict[str, Measure]:
    """The share of verdicts that hostile text, or harmless, moved to the attacker's side, on the
    criteria with these names: their other forms are not attacked.
    """
    places = asyncio.Semaphore(judging.window)

    async def ask(question: Question, fence: str) -> Sequence[Verdict]:
        async with places:
            return (await judging.ask(question, fence))[0]

    own = [one for one in criteria if one.name in names]
    result = await measure(ask, own, how=judging.how)
    tallies = result.by("criterion")
    tallies |= {"all attacks": result.total, "harmless additions": result.control}
    return {
        name: none("no verdict to flip")
        if one.rate is None
        else Measure(one.rate, one.held, one.low, one.high)
        for name, one in tallies.items()
    }


def summary(report: Report) -> Table:
    """The head of the report for a terminal."""
    criterion = Column("criterion", overflow="fold")  # forms differ by how their names end
    table = Table("judge", criterion, "items", "agreement", "kappa", "order flips", "unread",
                  box=box.SIMPLE)  # fmt: skip
    for judge in report.judges:
        for one in judge.criteria:
            names = ("agreement", "kappa", "order_inconsistency", "unread")
            cells = [cell(one.measures.get(name)) for name in names]
            table.add_row(judge.name, one.criterion, str(one.items), *cells)
    return table


def cell(measure: Measure | None) -> str:
    """A measure as text; a dash where there is none."""
    if measure is None or measure.value is None:
        return "–"
    if measure.low is None or measure.high is None:
        return f"{measure.value:.2f}"
    return f"{measure.value:.2f} ({measure.low:.2f}…{measure.high:.2f})"


def plan(recipe: MeasuredRecipe) -> str:
    """What `run` would do."""
    where = recipe.measure.report.labels or f"a sample of {recipe.texts}"
    line = f"measure {', '.join(recipe.judge.criteria)} on {where} → {recipe.output}/{HTML}"
    return "\n".join([line, *heads(recipe.judge, recipe.engines)])
