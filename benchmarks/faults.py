"""What faults cost: real runs killed at random moments, every kill point, every damage, and what
checking takes. `python -m benchmarks.faults FILE`; some 40 minutes on two cores, most of them for
the pairs of kill points. Needs strace, which says how many steps there are.
"""

import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import checking, kills
from tests.faults import damaged_runs, damaged_sets, trace
from tests.faults.apart import scratch
from tests.faults.damage import Extent, Verdict, table, worst
from tests.faults.kill_points import Visit, losses, visited, visits
from tests.faults.kill_states import STATES

PROCESSES, ALL = 2, -1
SETS, RUNS = Extent(each=3, times=40), Extent(each=2, times=3)


def points(pairs: int = ALL) -> dict[str, Any]:
    """Every single kill point, and so many pairs of them; SystemExit where strace is missing, or
    shows more steps than were visited.
    """
    if not trace.available():
        raise SystemExit("strace: not there, or it may not trace; it says how many steps there are")
    with scratch() as folder:
        found = visits(Path(folder), PROCESSES, pairs=pairs)
        calls = {state: calls for state, (_, calls) in _traced(Path(folder), found).items()}
    _say(losses(found))
    rows = [_row(state.name, calls[state.name], found) for state in STATES]
    return {"states": rows, "lost": sum(not one.good for one in found)}


def _traced(base: Path, found: Sequence[Visit]) -> dict[str, Any]:
    both = trace.traced(base)
    for state, (seen, calls) in both.items():
        missed = trace.missed(seen, calls)
        if missed or visited(found, state) < sum(calls.values()):
            raise SystemExit(
                f"{state}: {visited(found, state)} steps visited, {sum(calls.values())} system "
                f"calls; not seen: {', '.join(missed) or 'unknown'}"
            )
    return both


def _row(state: str, calls: Counter[str], found: Sequence[Visit]) -> dict[str, Any]:
    """How the kills of one command ended."""
    mine = [one for one in found if one.state == state]
    single, pairs = ([one for one in mine if len(one.points) == n] for n in (1, 2))
    return {
        "state": state,
        "steps": sum(calls.values()),
        "points": len({one.points for one in single}),
        "single": _outcomes(single),
        "pairs": len(pairs),
        "pair": _outcomes(pairs),
    }


def _outcomes(found: Sequence[Visit]) -> dict[str, int]:
    counts = Counter(one.outcome if one.good else "lost" for one in found)
    counts["refused"] += counts.pop("clean", 0)
    return {name: counts[name] for name in ("whole", "detected", "refused", "left", "lost")}


def damage() -> dict[str, Any]:
    """Every kind of file of a set, a run and its stores, damaged in every way."""
    found = list[Verdict]()
    with scratch() as folder:
        found += damaged_sets.verdicts(Path(folder), [*damaged_sets.KINDS], SETS)
    with scratch() as folder:
        found += damaged_runs.verdicts(Path(folder), RUNS)
    _say(worst(found, ("silent", "traceback")))
    bad = {name: sum(one.outcome == name for one in found) for name in ("silent", "traceback")}
    return {"kinds": table(found), **bad}


def _say(lines: Sequence[str]) -> None:
    for line in lines:
        print(line, file=sys.stderr)


def main(output: str) -> None:
    """Measure, and write the figures as JSON."""
    result = kills.measure() | {"points": points(), "damage": damage()}
    result["checking"] = checking.measure()
    Path(output).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
