"""A real command that stands still at a step of its own, to be killed there by another process:
`python -m tests.faults.stopped FOLDER NUMBER COMMAND WORDS`.

Number 0 stops it nowhere; at its end it says on standard error how many steps it made in FOLDER.
"""

import atexit
import signal
import sys
from pathlib import Path

from prewrite.commands import main as prewrite
from tests.faults.steps import Point, watched

SAID = "steps: "


def main(folder: str, number: str, command: str, *words: str) -> None:
    steps = watched(Path(folder), Point(int(number)), sends=signal.SIGSTOP)
    atexit.register(lambda: print(f"{SAID}{len(steps.kinds)}", file=sys.stderr))
    sys.exit(prewrite([command, *words]))


if __name__ == "__main__":
    main(*sys.argv[1:])
