"""`python -m judge --config FILE`: score the set at `judge.input` into a new set at `output`."""

import sys

from rich.console import Console

from base.cli import run_recipe
from judge.config import JudgeRecipe
from judge.passes import JudgePass
from shards.reader import ShardSet
from shards.run import finished, run_pass
from shards.show import print_summary


def judge_pass(recipe: JudgeRecipe) -> JudgePass:
    """The pass a recipe describes."""
    return JudgePass(str(recipe.judge.input), recipe.judge, recipe.engines[recipe.judge.engine])


def run(recipe: JudgeRecipe) -> None:
    """Score, or say that it is done."""
    job = judge_pass(recipe)
    if finished(job, recipe.output):
        print(f"{recipe.output}: the set is complete; nothing to do")
        return
    run_pass(job, recipe.output, recipe.run)
    print_summary(ShardSet(recipe.output), Console(highlight=False))


def plan(recipe: JudgeRecipe) -> str:
    """What `run` would do."""
    job = judge_pass(recipe)
    parts = len(job.source.splits())
    names = ", ".join(job.criteria)
    return f"judge {recipe.judge.input} ({parts} parts) on {names} → {recipe.output}"


if __name__ == "__main__":
    sys.exit(run_recipe("judge", __doc__ or "", JudgeRecipe, run, plan))
