"""`python -m train --config FILE`: scored shards → a trained model, as a Hugging Face folder.

`python -m train reference --config FILE` computes reference log-probabilities once and keeps them
with the shards. Both run in one process, or in many under torchrun. `python -m train export SET`
writes best texts as token ids for Megatron; `python -m train report RUN` shows how a run went.
"""

import os
import sys
import warnings
from contextlib import redirect_stderr
from io import StringIO

from base.cli import run_recipe
from train.config import TrainRecipe

# What Megatron and torch tell their own developers is nothing a user can act on.
for module in ("megatron", "torch"):
    warnings.filterwarnings("ignore", module=rf"{module}\.")

# Torch and Megatron are imported inside: help and configuration errors come at once, and the
# processes that write checkpoints, which import this module again, start in no time.


def train(recipe: TrainRecipe) -> None:
    """Train, or go on, or say that the run is complete."""
    from train.run import run

    run(recipe.train, recipe.engines)


def reference(recipe: TrainRecipe) -> None:
    """Keep reference log-probabilities with the shards."""
    from train.reference import keep

    keep(recipe.train)


def plan(recipe: TrainRecipe) -> str:
    """What a run would cost."""
    from train.plan import plan

    return plan(recipe.train, recipe.engines)


def main(arguments: list[str]) -> int:
    """Run the command; its exit code."""
    about, run = __doc__ or "", train
    name, *rest = arguments or [""]
    if name == "report":
        from train.report.command import main as report

        return report(rest)
    if name == "export":
        from train.megatron_export import main as export

        return export(rest)
    if name == "reference":
        about = "Computes reference log-probabilities once and keeps them with the shards."
        arguments, run = rest, reference
    command = "train reference" if run is reference else "train"
    if os.environ.get("RANK", "0") != "0":
        # What is wrong with the recipe, the first process says.
        with redirect_stderr(StringIO()):
            code = run_recipe(command, about, TrainRecipe, _nothing, plan, arguments)
        if code:
            return code
    return run_recipe(command, about, TrainRecipe, run, plan, arguments)


def _nothing(recipe: TrainRecipe) -> None: ...


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
