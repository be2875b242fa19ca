"""`prewrite judge`: score the set at `judge.input` into a new set at `output`."""

from prewrite.base.console import PlainConsole
from prewrite.judge.config import JudgeRecipe, heads
from prewrite.judge.passes import judge_pass, remedy
from prewrite.judge.probe import probe_judges
from prewrite.judge.retry import JudgeAgain, refuse_behind
from prewrite.pipeline.retry import planned, refuse_elsewhere, retry_all, told
from prewrite.pipeline.run import finished, run_pass
from prewrite.pipeline.spread import spread
from prewrite.pipeline.steps import PlannedPass
from prewrite.shards.reader import ShardSet
from prewrite.shards.show import print_summary


def run(recipe: JudgeRecipe) -> None:
    """Score, or say that it is done."""
    job = judge_pass(str(recipe.judge.input), recipe.judge, recipe.engines)
    refuse_behind(job, recipe.output)
    if finished(job, recipe.output, remedy(recipe.output)):
        run_pass(job, recipe.output, recipe.run)  # removes what a killed run has left
        print(f"{recipe.output}: the set is complete; nothing to do")
        return
    if spread("judge", recipe, [PlannedPass(job, recipe.output)], recipe.run):
        return
    probe_judges(job.judge, job.engines, job.fresh)
    run_pass(job, recipe.output, recipe.run)
    print_summary(ShardSet(recipe.output), PlainConsole())


def plan(recipe: JudgeRecipe) -> str:
    """What `run` would do."""
    job = judge_pass(str(recipe.judge.input), recipe.judge, recipe.engines)
    parts = len(job.source.splits())
    names = ", ".join(criterion.name for criterion in job.criteria)
    kept = f" (as judged before: {', '.join(sorted(job.kept))})" if job.kept else ""
    kept += f" (calibrated anew: {', '.join(sorted(job.heard))})" if job.heard else ""
    line = f"judge {recipe.judge.input} ({parts} parts) on {names}{kept} → {recipe.output}"
    return "\n".join([line, *heads(recipe.judge, recipe.engines)])


def retry(recipe: JudgeRecipe) -> None:
    """Ask again for the verdicts that failed, or say that there are none."""
    refuse_elsewhere(recipe.run)
    if retry_all([_again(recipe)], recipe.run):
        print_summary(ShardSet(recipe.output), PlainConsole())
    else:
        print(f"{recipe.output}: nothing failed that can be asked again; nothing to do")


def retry_plan(recipe: JudgeRecipe) -> str:
    """What `retry` would do."""
    refuse_elsewhere(recipe.run)
    return f"{recipe.output}: ask again: {told(planned(_again(recipe)))}"


def _again(recipe: JudgeRecipe) -> JudgeAgain:
    job = judge_pass(str(recipe.judge.input), recipe.judge, recipe.engines)
    return JudgeAgain(job, recipe.output, remedy(recipe.output))
