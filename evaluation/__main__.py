"""`python -m evaluation --config FILE`: models continue held-out texts, and are judged and measured
beside a base model. `python -m evaluation tasks --config FILE` runs tasks of the lm-eval harness,
`python -m evaluation ablation` the ablations.
"""

import sys
from importlib import import_module

from base.cli import run_recipe
from evaluation.config import EvaluateRecipe

COMMANDS = {"tasks": "evaluation.tasks", "ablation": "evaluation.ablation"}


def main(arguments: list[str]) -> int:
    """Run the command; its exit code."""
    if arguments[:1] and arguments[0] in COMMANDS:
        code: int = import_module(COMMANDS[arguments[0]]).main(arguments[1:])
        return code
    from evaluation.run import plan, run

    return run_recipe("evaluation", __doc__ or "", EvaluateRecipe, run, plan, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
