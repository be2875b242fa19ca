"""Numbers of thoughts: how well the text goes on after each kind, and how much better after the
model's own.

Intervals: 95 %, a bootstrap over documents. A difference is over the places that both kinds have.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from prewrite.base.intervals import Estimate, RatioTerm, ratio
from prewrite.train.thoughts.asked import KINDS, OWN, AfterEach, Place

REWARD, LIKELIHOOD = "reward", "likelihood"

Scores = Mapping[str, float]
"""Kind → what the judge says of the text after it; what it could not read is not in it."""


@dataclass(frozen=True)
class Use:
    """What a model makes of thoughts. places: all; closed: those at which its own has the right
    form. means, better: measure → kind → mean, and how much better the model's own does than it.
    unread: texts that the judge could not read.
    """

    places: int
    closed: int
    means: dict[str, dict[str, Estimate | None]]
    better: dict[str, dict[str, Estimate | None]]
    unread: int

    def as_json(self) -> dict[str, Any]:
        """For a file."""
        return asdict(self)

    @property
    def verdict(self) -> str:
        """One sentence: whether the model's own thoughts help it, by its first measure."""
        measure, better = next(iter(self.better.items()))
        known = {kind: one for kind, one in better.items() if one and one.low is not None}
        below = [kind for kind, one in known.items() if one.high is not None and one.high < 0]
        above = [kind for kind, one in known.items() if one.low is not None and one.low > 0]
        if below:
            return f"its own thoughts are worse than {' and '.join(below)} ones ({measure})"
        if len(above) == len(better):
            return f"its own thoughts are better than {' and '.join(better)} ones ({measure})"
        open_ = [kind for kind in better if kind not in above]
        return f"it is not shown that its own thoughts are better than {' or '.join(open_)} ones"


def use_of(
    places: Sequence[Place], found: Sequence[AfterEach], scores: Sequence[Scores] | None
) -> Use:
    """The numbers of a model. scores: of each place, None where nobody judges. A thought that the
    model did not close earns 0, and has no likelihood.
    """
    measures: dict[str, Callable[[int, str], float | None]] = {}
    if scores is not None:
        measures[REWARD] = lambda n, kind: (
            scores[n].get(kind) if kind in found[n] or kind != OWN else 0.0
        )
    measures[LIKELIHOOD] = lambda n, kind: found[n][kind].likelihood if kind in found[n] else None
    means, better = dict[str, dict[str, Estimate | None]](), dict[str, dict[str, Estimate | None]]()
    for name, value in measures.items():
        terms = {kind: dict(_terms(places, kind, value)) for kind in KINDS}
        means[name] = {kind: ratio([*some.values()]) for kind, some in terms.items()}
        better[name] = {
            kind: _difference(terms[OWN], some) for kind, some in terms.items() if kind != OWN
        }
    asked = sum(len(one) for one in found)
    read = sum(len(one) for one in scores) if scores is not None else asked
    closed = sum(OWN in one for one in found)
    return Use(len(places), closed, means, better, asked - read)


def lines(name: str, use: Use) -> Iterator[str]:
    """A table of a model, as Markdown, and the sentence on it."""
    yield f"## {name}: {use.verdict}"
    yield ""
    measures = [*use.means]
    yield f"| thought | {' | '.join(f'{one} | own less this' for one in measures)} |"
    yield f"|---|{'---|---|' * len(measures)}"
    for kind in KINDS:
        cells = (
            f"{_shown(use.means[one][kind])} | {_shown(use.better[one].get(kind))}"
            for one in measures
        )
        yield f"| {kind} | {' | '.join(cells)} |"
    yield ""
    yield (
        f"{use.places} places, at {use.closed} of which the model's own thought has the right form"
        f"; {use.unread} texts without a verdict."
    )


def _terms(
    places: Sequence[Place], kind: str, value: Callable[[int, str], float | None]
) -> Iterator[tuple[int, RatioTerm]]:
    for number, place in enumerate(places):
        if (found := value(number, kind)) is not None:
            yield number, RatioTerm(place.document, found)


def _difference(own: Mapping[int, RatioTerm], other: Mapping[int, RatioTerm]) -> Estimate | None:
    common = sorted(own.keys() & other.keys())
    return ratio([own[n] for n in common], [other[n] for n in common]) if common else None


def _shown(one: Estimate | None) -> str:
    if one is None:
        return "–"
    interval = f" [{one.low:.4f}, {one.high:.4f}]" if one.low is not None else ""
    return f"{one.value:.4f}{interval}"
