"""`python -m train report RUN…`: losses, what was chosen, scores, time and continuations of a
training run on one HTML page that loads nothing; several runs are laid over each other.
"""

from collections.abc import Sequence

from base.cli import console
from base.report.command import run_report
from train.report.metrics import read_run
from train.report.page import page


def make(urls: list[str]) -> str:
    """The page of the runs in the folders `urls`."""
    runs = [read_run(url) for url in urls]
    for run in runs:
        if run.damaged:
            console.print(f"{run.url}/{run.damaged}", soft_wrap=True)
    return page(runs)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return run_report("train report", __doc__ or "", "RUN", make, arguments)
