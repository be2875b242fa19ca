"""Whether a command runs its passes itself, does one step of them, or submits them to Slurm."""

from collections.abc import Sequence

from prewrite.base.config import Recipe
from prewrite.pipeline.config import RunConfig
from prewrite.pipeline.steps import PlannedPass, run_step


def spread(command: str, recipe: Recipe, stages: Sequence[PlannedPass], run: RunConfig) -> bool:
    """Do what `run.step` or `run.executor: slurm` asks for; False where this process is to run all
    of `stages`. `command`: the one of `prewrite` that takes `recipe`.
    """
    if run.step:
        run_step(run.step, stages, run)
    elif run.executor == "slurm":
        from prewrite.pipeline.slurm import submit

        print(submit(command, recipe, stages, run))
    return bool(run.step) or run.executor == "slurm"
