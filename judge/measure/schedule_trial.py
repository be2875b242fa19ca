"""`prewrite judge schedule --config FILE`: what the schedules of `judge.pools` would lose with the
judge in use. They assume that a verdict's probability says something about the difference.

Pools are made of rows of `judge.input`: the original, its rewrite and corruptions of the original.
Every pair is asked about in both orders, K(K-1) verdicts a pool; on what was recorded each schedule
is then replayed, at no cost. Against the scores of all verdicts, which are the best there are but
not the truth: calls, the gap between highest and lowest that is kept, how often highest and lowest
are the same, and the rank correlation. Prints a table and writes `output`/schedule.json.
"""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Sequence
from itertools import count, islice
from statistics import fmean

from rich import box
from rich.table import Table
from scipy.stats import spearmanr

from prewrite.base.console import PlainConsole
from prewrite.base.errors import ConfigError, InputError
from prewrite.base.files import Folder
from prewrite.judge.config import JudgeConfig, PoolsConfig
from prewrite.judge.criteria import Criterion, PromptedCriterion, load_criterion
from prewrite.judge.judge import Judge, load_judges
from prewrite.judge.measure.config import MeasuredRecipe
from prewrite.judge.measure.corruptions import CORRUPTIONS
from prewrite.judge.measure.sample import SampledRow, sample
from prewrite.judge.pool import Ask, Pool, Question, Result, play
from prewrite.judge.readout import Verdict
from prewrite.judge.schedule import Purpose
from prewrite.judge.unread import refuse_unread
from prewrite.judge.votes import Aggregate

FILE = "schedule.json"
PURPOSES: tuple[Purpose, ...] = ("auto", "ranks")
_TRIES = 200  # corruptions of a text until it counts as too short to give so many


ReplayFigures = dict[str, float | str | None]


def pools(sampled: Sequence[SampledRow], size: int, seed: int) -> list[Pool]:
    """A pool of each row that gives `size` different texts: the original, its rewrite, corruptions
    (each kind again with another chance, so that some are worse than others).
    """
    found = []
    for row, context in sampled:
        texts = {name: row[name] for name in ("original", "rewrite") if row.get(name)}
        others = [one["original"] for one, _ in sampled if one["doc_id"] != row["doc_id"]]
        draw = random.Random(f"{seed} {row['id']}")  # noqa: S311  (texts, no secret)
        for number in islice(count(), _TRIES):
            if len(texts) >= size:
                found.append(Pool(row["id"], context, row["original"], texts))
                break
            kind = [*CORRUPTIONS][number % len(CORRUPTIONS)]
            worse = CORRUPTIONS[kind](row["original"], draw.choice(others or [""]), draw)
            if worse and worse not in texts.values():
                texts[f"{kind}-{number}"] = worse
    return found


async def replayed(
    criterion: Criterion,
    texts: Pool,
    ask: Ask,
    config: PoolsConfig,
    graded: bool,
    how: Aggregate = "mean",
) -> tuple[Result, dict[Purpose, Result]]:
    """The result of all verdicts, and that of each schedule on the same verdicts."""
    known: dict[tuple[str, str | None, int], Sequence[Verdict]] = {}

    async def record(question: Question) -> Sequence[Verdict]:
        verdicts = await ask(question)
        known[question.candidate, question.opponent, question.order] = verdicts
        return verdicts

    async def recall(question: Question) -> Sequence[Verdict]:
        return known[question.candidate, question.opponent, question.order]

    everything = PoolsConfig(schedule="full", order="both", seed=config.seed)
    full = await play(criterion, texts, record, everything, graded, how)
    again = {
        purpose: await play(
            criterion, texts, recall, config.model_copy(update={"schedule": purpose}), graded, how
        )
        for purpose in PURPOSES
    }
    return full, again


def compared(full: Sequence[Result], again: Sequence[Result]) -> ReplayFigures:
    """What a schedule kept, over the pools in which all verdicts give everyone a score."""
    pairs = [
        (one.scores, other.scores)
        for one, other in zip(full, again, strict=True)
        if one.scores and one.scores.keys() == other.scores.keys()
    ]
    kept, whole, high, low, ranks = [], [], [], [], []
    for every, some in pairs:
        best, worst = max(some, key=lambda n: some[n]), min(some, key=lambda n: some[n])
        kept.append(every[best] - every[worst])
        whole.append(max(every.values()) - min(every.values()))
        high.append(every[best] == max(every.values()))
        low.append(every[worst] == min(every.values()))
        if len({*every.values()}) > 1 and len({*some.values()}) > 1:
            ranks.append(float(spearmanr([every[n] for n in some], [*some.values()])[0]))
    return {
        "pools": len(pairs),
        "calls": fmean(len(one.answers) for one in again) if again else None,
        "gap": sum(kept) / sum(whole) if sum(whole) else None,
        "same_highest": fmean(high) if high else None,
        "same_lowest": fmean(low) if low else None,
        "rank_correlation": fmean(ranks) if ranks else None,
    }


async def _measure(
    judge: Judge, criterion: Criterion, texts: Sequence[Pool], config: JudgeConfig
) -> list[ReplayFigures]:
    graded, how = config.readout == "distribution", config.aggregate(criterion)

    def asks(pool: Pool) -> Callable[[Question], Awaitable[Sequence[Verdict]]]:
        said = ["".join(pool.context), pool.reference, *pool.candidates.values()]
        fence = criterion.prompt.fence(said) if isinstance(criterion, PromptedCriterion) else ""

        async def ask(question: Question) -> Sequence[Verdict]:
            return (await judge.ask(question, fence))[0]

        return ask

    done = [await replayed(criterion, one, asks(one), config.pools, graded, how) for one in texts]
    full = [every for every, _ in done]
    return [
        {
            "judge": judge.name,
            "criterion": criterion.name,
            "schedule": purpose,
            **compared(full, [again[purpose] for _, again in done]),
        }
        for purpose in PURPOSES
    ]


def run(recipe: MeasuredRecipe) -> None:
    """Ask, replay, print, write."""
    config, replay = recipe.judge, recipe.measure.schedule
    criteria = [c for name in config.criteria if (c := load_criterion(name)).kind == "pairwise"]
    if not criteria:
        raise ConfigError("judge.criteria: found no pairwise criterion; accepted: at least one")
    sampled = sample(recipe.texts, replay.rows, replay.seed, config.max_context_tokens)
    texts = pools(sampled, replay.candidates, replay.seed)
    if not texts:
        raise InputError(
            f"{recipe.texts}: no row of the sample is long enough for measure.schedule.candidates="
            f"{replay.candidates} different texts"
        )
    found = []
    for judge in load_judges(config, recipe.engines, criteria):
        for criterion in criteria:
            found += asyncio.run(_measure(judge, criterion, texts, config))
        refuse_unread("judge schedule", [(judge.name, judge.tally)])
    result = {"candidates": replay.candidates, "readout": config.readout, "schedules": found}
    Folder(recipe.output).write(FILE, (json.dumps(result, indent=1) + "\n").encode())
    PlainConsole().print(table(found, replay.candidates))
    print(f"{recipe.output}/{FILE}")


def table(found: Sequence[ReplayFigures], size: int) -> Table:
    """The figures for people."""
    shown = Table(box=box.SIMPLE_HEAD, title=f"{size} candidates a pool, against all pairs twice")
    for name in found[0]:
        shown.add_column(name.replace("_", " "))
    for figures in found:
        shown.add_row(*(f"{v:.3g}" if isinstance(v, float) else str(v) for v in figures.values()))
    return shown


def plan(recipe: MeasuredRecipe) -> str:
    """What `run` would do."""
    rows, size = recipe.measure.schedule.rows, recipe.measure.schedule.candidates
    asked = rows * size * (size - 1)
    return f"ask {asked} questions about {rows} rows of {recipe.texts}, replay the schedules"
