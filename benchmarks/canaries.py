"""How often the quick-start judge falls for the shipped canaries: `python -m benchmarks.canaries
FILE`. A baseline of a model that is no judge, so that another one has something to be held against.
"""

import asyncio
import json
import sys
import time
from dataclasses import asdict

from prewrite.base.config import load
from prewrite.judge.criteria import load_criterion
from prewrite.judge.judge import load_judges
from prewrite.judge.measure.canaries import asking, measure
from prewrite.judge.measure.config import MeasuredRecipe

RECIPE = ["judge.criteria=[quality, safety, factuality]", "engines.main.max_model_len=2048"]


def main(output: str) -> None:
    """Measure, and write the figures as JSON."""
    recipe = load(MeasuredRecipe, "configs/quickstart.yaml", RECIPE)
    criteria = [load_criterion(name) for name in recipe.judge.criteria]
    (judge,) = load_judges(recipe.judge, recipe.engines, criteria)
    begun = time.perf_counter()
    found = asyncio.run(measure(asking(judge), criteria))
    result = {
        "seconds": round(time.perf_counter() - begun),
        "asked": found.asked,
        "lost": found.lost,
        "total": asdict(found.total),
        "control": asdict(found.control),
        "criteria": {name: asdict(tally) for name, tally in found.by("criterion").items()},
        "families": {name: asdict(tally) for name, tally in found.by("family").items()},
    }
    with open(output, "w", encoding="utf-8") as stream:
        json.dump(result, stream)


if __name__ == "__main__":
    main(sys.argv[1])
