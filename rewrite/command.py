"""`prewrite rewrite`: corpus → rewrites → scores, one scored set at `output`.

The rewrites are a set of their own in `output/_rewrites`, so that another judge or another weight
costs no rewriting; a recipe without a `judge` section leaves them at `output`. Both passes run on
one loaded engine where they name the same one.
"""

from collections import Counter

from prewrite.base.console import PlainConsole
from prewrite.base.errors import ShardError
from prewrite.base.files import Folder
from prewrite.judge.config import heads
from prewrite.judge.passes import JudgePass, judge_pass, remedy
from prewrite.judge.probe import probe_judges
from prewrite.judge.retry import JudgeAgain, refuse_behind
from prewrite.pipeline.passes import inputs
from prewrite.pipeline.retry import (
    Again,
    check,
    is_begun,
    is_behind,
    planned,
    refuse_elsewhere,
    retry_all,
    told,
)
from prewrite.pipeline.run import finished, holds_rows, run_pass
from prewrite.pipeline.spread import spread
from prewrite.pipeline.steps import PlannedPass
from prewrite.rewrite.config import RewriteRecipe
from prewrite.rewrite.more import rewrite_pass
from prewrite.rewrite.passes import RewritePass
from prewrite.rewrite.probe import probe_rewriters
from prewrite.rewrite.retry import RewriteAgain
from prewrite.shards import flat
from prewrite.shards.manifest import Manifest
from prewrite.shards.names import REWRITES, SPLITS
from prewrite.shards.occupied import refuse_taken
from prewrite.shards.reader import ShardSet
from prewrite.shards.show import print_summary


def run(recipe: RewriteRecipe) -> None:
    """Make the set, continue it, or say that it is complete."""
    rewrites = rewrites_url(recipe)
    first = rewrite_pass(recipe)
    if recipe.run.step and recipe.run.step.partition(":")[2].isdecimal():
        _recall(first, Folder(rewrites))
    done = finished(first, rewrites, "other rewrites need another output")
    second = _judge(recipe, rewrites)
    if done and second:
        refuse_behind(second, recipe.output)
    if done and (second is None or finished(second, recipe.output, _again(recipe))):
        for stage in stages(recipe):
            run_pass(stage.job, stage.output, recipe.run)  # removes what a killed run has left
        print(f"{recipe.output}: the set is complete; nothing to do")
        return
    if second and not done and not _is_begun(rewrites):
        _refuse_occupied(recipe)
    if spread("rewrite", recipe, _planned(first, second, rewrites, recipe.output), recipe.run):
        return
    if not done:
        probe_rewriters(recipe, first.fresh)
    if second:
        probe_judges(second.judge, second.engines, second.criteria)
    run_pass(first, rewrites, recipe.run)
    if second:
        refuse_behind(second, recipe.output)  # rewrites that were repaired may be others now
        run_pass(second, recipe.output, recipe.run)
    print_summary(ShardSet(recipe.output), PlainConsole())


def retry(recipe: RewriteRecipe) -> None:
    """Ask again what failed in both sets, or say that there is nothing to ask."""
    refuse_elsewhere(recipe.run)
    if retry_all(_retries(recipe), recipe.run):
        print_summary(ShardSet(recipe.output), PlainConsole())
    else:
        print(f"{recipe.output}: nothing failed that can be asked again; nothing to do")


def retry_plan(recipe: RewriteRecipe) -> str:
    """What `retry` would do."""
    refuse_elsewhere(recipe.run)
    lines = [f"{job.url}: ask again: {told(planned(job))}" for job in _retries(recipe)]
    if len(lines) > 1:
        lines[-1] += "; and about the rewrites that will have changed"
    return "\n".join(lines)


def _retries(recipe: RewriteRecipe) -> list[Again]:
    """What is asked again, in this order. A round of rewrites is judged before the next begins."""
    first = RewriteAgain(rewrite_pass(recipe), rewrites_url(recipe))
    check(first)
    judge = _judge(recipe, first.url)
    if judge is None:
        return [first]
    second = JudgeAgain(judge, recipe.output, _again(recipe))
    return [second] if is_behind(second) and not is_begun(first) else [first, second]


def stages(recipe: RewriteRecipe) -> list[PlannedPass]:
    """The passes in their order, and where their sets go."""
    rewrites = rewrites_url(recipe)
    return _planned(rewrite_pass(recipe), _judge(recipe, rewrites), rewrites, recipe.output)


def _planned(
    first: RewritePass, second: JudgePass | None, rewrites: str, output: str
) -> list[PlannedPass]:
    passes = [PlannedPass(first, rewrites, first.corpus.known)]
    return [*passes, PlannedPass(second, output)] if second else passes


def _recall(job: RewritePass, rewrites: Folder) -> None:
    """Take over what the first step of the run has found out about the corpus: one listing serves
    all tasks.
    """
    if (data := rewrites.read(SPLITS)) is not None:
        job.corpus.recall(f"{rewrites.url}/{SPLITS}", data)


def plan(recipe: RewriteRecipe) -> str:
    """What `run` would do."""
    job = rewrite_pass(recipe)
    source = job.corpus
    source.chunker  # noqa: B018  (a wrong tokenizer is found here)
    files = inputs(source.splits())
    size = sum(file.bytes for file in files) / 1e6
    what = "rewrite" if recipe.rewrite else "cut"
    lines = [f"{what} {len(files)} files ({size:.1f} MB) → {rewrites_url(recipe)}"]
    passed = source.found.passed
    for reason, count in Counter(passed.values()).most_common():
        example = next(path for path, why in passed.items() if why == reason)
        lines.append(f"  passed over: {count}: {reason}, such as {example}")
    if recipe.rewrite and recipe.rewrite.input:
        kept = [text for text in recipe.by_text() if text not in job.fresh]
        lines.append(f"  taken over from {recipe.rewrite.input}: {', '.join(kept) or 'nothing'}")
        lines.append(f"  asked for: {', '.join(job.fresh)}")
    if recipe.judge:
        lines.append(f"judge on {', '.join(recipe.judge.criteria)} → {recipe.output}")
        rewriters = {made.engine for made in recipe.by_text().values()}
        lines += heads(recipe.judge, recipe.engines, rewriters)
    return "\n".join(lines)


def rewrites_url(recipe: RewriteRecipe) -> str:
    """Where the rewrite pass writes."""
    if recipe.judge is None:
        return recipe.output
    folder = Folder(recipe.output)
    is_old = folder.exists(f"{flat.REWRITES}/{flat.MANIFEST}") and not folder.exists(REWRITES)
    return f"{recipe.output.rstrip('/')}/{flat.REWRITES if is_old else REWRITES}"


def _is_begun(rewrites: str) -> bool:
    """Whether rewrites of this recipe are there and not complete, such as after a repair."""
    folder = Folder(rewrites)
    found = Manifest.find(folder)
    return found is not None and holds_rows(found, folder)


def _refuse_occupied(recipe: RewriteRecipe) -> None:
    """ShardError for what the scored set cannot be written over, before rewrites are paid for:
    files of others, or a set without its rewrites, one that was made, or begun, without a judge, or
    of which `_rewrites/` was removed.
    """
    folder = Folder(recipe.output)
    found = Manifest.find(folder)
    if found is None:
        refuse_taken(folder)
    if found and holds_rows(found, folder):
        kind, instead = "a finished", _again(recipe)
        if found.status != "complete":
            kind, instead = "an unfinished", "choose another output, or restore the recipe of it"
        raise ShardError(
            f"{recipe.output}: {kind} set is here, but not its rewrites in "
            f"{rewrites_url(recipe)}; {instead}"
        )


def _again(recipe: RewriteRecipe) -> str:
    return remedy(recipe.output, rewrites_url(recipe))


def _judge(recipe: RewriteRecipe, rewrites: str) -> JudgePass | None:
    if recipe.judge is None:
        return None
    return judge_pass(rewrites, recipe.judge, recipe.engines)
