"""The ledger as one HTML page; see `base.report.page` for how it is made."""

from collections.abc import Sequence

from prewrite.base.report.page import render
from prewrite.evaluation.improve.ledger import Begin, Compared, Ended, Entry, Last
from prewrite.evaluation.improve.state import PARTS, state_of

NAME = "index.html"


def page(entries: Sequence[Entry]) -> str:
    """The HTML."""
    begin = entries[0]
    assert isinstance(begin, Begin), "the ledger begins with it"
    compared = [one for one in entries if isinstance(one, Compared)]
    rounds: dict[int, list[Compared]] = {}
    for one in compared:
        rounds.setdefault(one.round, []).append(one)
    values = {
        "begin": begin,
        "rounds": rounds,
        "compared": compared,
        "state": state_of(entries),
        "parts": PARTS,
        "ended": [one for one in entries if isinstance(one, Ended)],
        "last": [one for one in entries if isinstance(one, Last)],
    }
    return render("prewrite.evaluation.improve", values)
