"""The corrupt pass, killed in forks at some of its steps; the same command then makes the rest."""

import json
import shutil
import sys
from pathlib import Path

from prewrite.base.fingerprint import fingerprint
from prewrite.judge.corrupt import corrupt_pass
from prewrite.judge.measure.config import CorruptRecipe
from prewrite.pipeline.config import RunConfig
from prewrite.pipeline.run import run_pass
from prewrite.shards.verify import verify
from tests.faults import tiny
from tests.faults.forks import forked, make_ready
from tests.faults.steps import Point


def lay_out(base: Path) -> None:
    """The set that is corrupted."""
    tiny.go(str(base / "input"))


def corrupt(base: Path) -> None:
    """The command; of six rows five are drawn."""
    engines = {"main": {"kind": "vllm", "model": "none"}}
    recipe = {
        "output": f"{base}/case/set",
        "engines": engines,
        "judge": {"engine": "main", "input": f"{base}/input"},
        "measure": {"corrupt": {"kinds": ["falsified"], "rows": 5}},
    }
    job = corrupt_pass(CorruptRecipe.model_validate(recipe))
    run_pass(job, f"{base}/case/set", RunConfig(rows_per_part=tiny.CHUNKS))


def made(base: Path) -> list[object]:
    """What the command leaves: what an audit says of it, and its rows."""
    corrupt(base)
    url = str(base / "case/set")
    return [verify(url)["problems"], fingerprint(tiny.exactly(url))]


def killed(base: Path, points: int) -> None:
    """Print, for about so many points, what was made after a kill there; first without one."""
    case = base / "case"
    case.mkdir()
    kinds = forked(lambda: corrupt(base), case).kinds
    chosen = [Point(n) for n in range(1, len(kinds) + 1, max(1, len(kinds) // points))]
    chosen += [Point(p.number, half=True) for p in chosen if kinds[p.number - 1] == "write"]
    for point in (None, *chosen):
        shutil.rmtree(case)
        case.mkdir()
        first = forked(lambda: corrupt(base), case, point) if point else None
        then = forked(lambda: made(base))
        told = {"point": str(point), "killed": bool(first and first.killed)}
        print(json.dumps(told | {"made": then.value, "why": then.bug or then.sentence}))


if __name__ == "__main__":
    make_ready()
    tiny.without_worker_pools()
    what, where, *number = sys.argv[1:]
    if what == "lay out":
        lay_out(Path(where))
    else:
        killed(Path(where), int(*number))
