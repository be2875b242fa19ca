"""`prewrite train report RUN…`: losses, what was chosen, scores, time and continuations of a
training run on one HTML page that loads nothing; several runs are laid over each other.
"""

from collections.abc import Sequence

from prewrite.base.cli import console
from prewrite.train.report.metrics import read_run
from prewrite.train.report.page import page


def make(urls: Sequence[str]) -> str:
    """The page of the runs in the folders `urls`."""
    runs = [read_run(url) for url in urls]
    for run in runs:
        if run.damaged:
            console.print(f"{run.url}/{run.damaged}", soft_wrap=True)
    return page(runs)
