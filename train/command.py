"""`prewrite train`: scored shards → a trained model, as a Hugging Face folder; and
`prewrite train reference`. Both run in one process, or in many under torchrun.

Torch and Megatron are imported inside: help and configuration errors come at once, and the
processes that write checkpoints start in no time.
"""

import os
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr
from io import StringIO

from prewrite.base.cli import Invocation, run_recipe
from prewrite.train.config.recipe import TrainRecipe

# What Megatron and torch tell their own developers is nothing a user can act on.
for module in ("megatron", "torch"):
    warnings.filterwarnings("ignore", module=rf"{module}\.")


def train(recipe: TrainRecipe) -> None:
    """Train, or go on, or say that the run is complete."""
    from prewrite.train.run import run

    run(recipe.train, recipe.engines)


def reference(recipe: TrainRecipe) -> None:
    """Keep reference log-probabilities with the shards."""
    from prewrite.train.reference import keep

    keep(recipe.train)


def plan(recipe: TrainRecipe) -> str:
    """What a run would cost."""
    from prewrite.train.plan import plan

    return plan(recipe.train, recipe.engines)


def run_ranks(invocation: Invocation, run: Callable[[TrainRecipe], None]) -> int:
    """The command in one of its processes: what is wrong with the recipe, the first one says."""
    if os.environ.get("RANK", "0") != "0":
        with redirect_stderr(StringIO()):
            code = run_recipe(invocation, TrainRecipe, lambda recipe: None, plan)
        if code:
            return code
    return run_recipe(invocation, TrainRecipe, run, plan)
