"""An evaluation from end to end."""

from evaluate.config import EvaluateRecipe


def run(recipe: EvaluateRecipe) -> None:
    """Evaluate, go on, or say that it is done."""
    raise NotImplementedError


def plan(recipe: EvaluateRecipe) -> str:
    """What `run` would do."""
    raise NotImplementedError
