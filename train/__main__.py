"""`python -m train --config FILE`: scored shards → a trained model, as a Hugging Face folder.

`python -m train reference --config FILE` computes reference log-probabilities once and keeps them
with the shards. Both run in one process, or in many under torchrun.
"""

import sys
import warnings

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

    run(recipe.train)


def reference(recipe: TrainRecipe) -> None:
    """Keep reference log-probabilities with the shards."""
    from train.reference import keep

    keep(recipe.train)


def plan(recipe: TrainRecipe) -> str:
    """What a run would cost."""
    from train.plan import plan

    return plan(recipe.train)


def main(arguments: list[str]) -> int:
    """Run the command; its exit code."""
    if arguments[:1] == ["reference"]:
        about = "Computes reference log-probabilities once and keeps them with the shards."
        return run_recipe("train reference", about, TrainRecipe, reference, plan, arguments[1:])
    return run_recipe("train", __doc__ or "", TrainRecipe, train, plan, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
