"""Pools of rollouts that a run kept to be read, and what its probe was answered: a few of each,
from the first steps to the last.
"""

import re
from collections.abc import Sequence

from prewrite.base.files import Folder

FOLDER, PROBE = "rollouts/pools", "rollouts/probe"
SHOWN = 6
"""Steps of which pools are shown."""

LONGEST = 20_000
"""Characters that are shown of the pools of a step."""

_NAME = re.compile(r"step-(\d+)(?:-rank-\d+)?\.md")


def pools(url: str, kind: str = FOLDER) -> list[tuple[int, str]]:
    """(step, its pools as text) of at most SHOWN steps of the run in `url`, evenly spread over
    those that have any, the first and the last among them; of a step those of its first rank.
    """
    folder = Folder(f"{url.rstrip('/')}/{kind}")
    found: dict[int, str] = {}
    for name in folder.names():
        if match := _NAME.fullmatch(name):
            found.setdefault(int(match[1]), name)
    return [
        (step, _cut((folder.read(found[step]) or b"").decode("utf-8", "replace")))
        for step in _spread(sorted(found))
    ]


def _spread(steps: Sequence[int]) -> list[int]:
    if len(steps) <= SHOWN:
        return list(steps)
    return [steps[round(n * (len(steps) - 1) / (SHOWN - 1))] for n in range(SHOWN)]


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}\n… (cut here)"
