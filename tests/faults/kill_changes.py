"""A finished set is upgraded, or a document is taken out of it, and the command is killed at each
of its steps: a reader finds all of the old rows or all of the new ones, and the same command ends
what it began.

`python -m tests.faults.kill_changes upgrade|remove FOLDER FIRST EVERY` prints a line of JSON for
each kill: the step, and what was found wrong, or nothing. They are at step FIRST, FIRST + EVERY, ….
"""

import json
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from prewrite.shards import names
from prewrite.shards.reader import ShardSet
from prewrite.shards.takedown import remove
from prewrite.shards.upgrade import upgrade
from prewrite.shards.verify import verify
from tests.faults.forks import forked, make_ready
from tests.faults.steps import Point

MADE = Path(__file__).parents[1] / "shards/made_by_0_1/set"
SINCE = {"rewrite_reason"}
"""The columns that format 1 has not."""

_MOST = 100_000  # more steps than any command has

Rows = list[dict[str, Any]]


def rows(url: Path) -> Rows:
    """What a set says, without what format 1 has not."""
    return [{k: v for k, v in row.items() if k not in SINCE} for row in ShardSet(str(url)).rows()]


def said(url: Path) -> Rows:
    """The raw verdicts of a set."""
    found = ShardSet(str(url))
    return [row for part in found.verdicts for b in found.batches(part) for row in b.to_pylist()]


def without(every: Rows, document: str) -> Rows:
    """Rows but those of a document."""
    return [row for row in every if row["doc_id"] != document]


def kills(
    start: Path, case: Path, command: Callable[[], object], good: Sequence[Rows], steps: range
) -> Iterator[tuple[str, str]]:
    """Steps of a command over a copy of `start`, and what was wrong after a kill there."""
    for number in steps:
        shutil.rmtree(case, ignore_errors=True)
        shutil.copytree(start, case)
        ended = forked(command, case, Point(number))
        if ended.bug:
            yield f"{number} ({ended.kind})", ended.bug
        if not ended.killed:
            return
        if ended.changed:
            yield f"{number} ({ended.kind})", _fault(case, command, good)


def _fault(case: Path, command: Callable[[], object], good: Sequence[Rows]) -> str:
    try:
        if rows(case) not in good:
            return "a reader finds other rows"
        command()
        for url in (case, case / names.REWRITES):
            if problems := verify(str(url))["problems"]:
                return f"verify: {problems[0]}"
        if rows(case) != good[-1]:
            return "in the end there are other rows"
        listed = ShardSet(str(case))
        kept = {part.file for part in (*listed.parts, *listed.verdicts)}
        kept |= {file.name for file in listed.manifest.log} | {names.MANIFEST, names.CARD}
        inside = {str(path.relative_to(case)) for path in case.rglob("*") if path.is_file()}
        more = {n for n in inside - kept if not n.startswith(f"{names.REWRITES}/")}
        return f"left over: {min(more)}" if more else ""
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:500]


def main(what: str, folder: str, first: str, every: str) -> None:
    """The kills of one command."""
    make_ready()
    base, case = Path(folder), Path(folder, "case")
    whole, start, steps = rows(MADE), MADE, range(int(first), _MOST, int(every))
    if what == "remove":
        start = Path(shutil.copytree(MADE, base / "start"))
        upgrade(str(start))
        document = whole[0]["doc_id"]
        good: list[Rows] = [whole, without(whole, document)]
        found = kills(start, case, lambda: remove(str(case), [document]), good, steps)
    else:
        found = kills(start, case, lambda: upgrade(str(case)), [whole], steps)
    for one in found:
        print(json.dumps(one), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
