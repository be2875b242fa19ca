"""What a new text of a row makes stale of the scores that the row has.

A verdict on one text holds whatever other texts there are. A win rate depends on who else plays,
and so does every combined score: both go where a text has come or changed.
"""

from collections.abc import Collection, Iterable, Sequence

from prewrite.shards.schema import Row


def forget(
    row: Row,
    changed: Collection[str],
    rewrites: Iterable[str],
    criteria: Sequence[str],
    pairwise: Collection[str],
) -> None:
    """Make null what is no longer true of a row whose texts `changed` are others by now. pairwise:
    the criteria that compare texts.
    """
    for text in ("original", *rewrites) if changed else ():
        for name in criteria:
            if name in pairwise or text in changed:
                row[f"{text}_{name}"] = None
        row[f"{text}_score"] = None
    for name in pairwise if changed else ():
        row[f"{name}_consistency"] = row[f"{name}_disagreement"] = None
    if changed:
        row["best"] = None


def is_true(verdict: Row, changed: Collection[str]) -> bool:
    """Whether a verdict on that row still holds."""
    return not changed or (verdict["opponent"] is None and verdict["candidate"] not in changed)
