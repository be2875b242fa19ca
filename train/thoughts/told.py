"""Numbers of thoughts: how well the text goes on after each kind, and how much better after the
model's own.

Intervals: 95 %, a bootstrap over documents. A difference is over the places that both kinds have.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from prewrite.base.intervals import Estimate, RatioTerm, ratio
from prewrite.train.thoughts.asked import KINDS, OWN, Place, PlaceResult

REWARD, LIKELIHOOD = "reward", "likelihood"

Scores = Mapping[str, float]
"""Kind → what the judge says of the text after it; what it could not read is not in it."""


Values = Mapping[int, RatioTerm]
"""Number of a place → what was measured there."""


@dataclass(frozen=True)
class Use:
    """What a model makes of thoughts. places: all; unsampled: those at which the engine gave no
    thought; malformed: those at which its form is wrong. texts: those after all thoughts;
    unwritten, unlikely, unread: of them, those that the engine could not go on with, whose true
    text it could not tell the likelihood of, and that the judge could not read. means, better:
    measure → kind → mean, and how much better the model's own does than it.
    """

    places: int
    unsampled: int
    malformed: int
    texts: int
    unwritten: int
    unlikely: int
    unread: int
    means: dict[str, dict[str, Estimate | None]]
    better: dict[str, dict[str, Estimate | None]]

    @property
    def silent(self) -> str | None:
        """What failed everywhere, so that nothing was measured; None: nothing did."""
        written = self.texts - self.unwritten
        if self.unsampled == self.places:
            return f"the engine gave no thought at any of {self.places} places"
        if self.unlikely == self.texts:
            return f"the engine told the likelihood of none of {self.texts} texts"
        if self.unread and self.unread == written:
            return f"the judge could read none of {written} texts"
        return None

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
    places: Sequence[Place], found: Sequence[PlaceResult], scores: Sequence[Scores] | None
) -> Use:
    """The numbers of a model. scores: of each place, None where nobody judges. A thought of the
    wrong form earns 0, and has no likelihood; what the engine or the judge failed at counts for
    nothing, and is told.
    """
    measures = {} if scores is None else {REWARD: _rewards(found, scores)}
    measures[LIKELIHOOD] = [
        {kind: one.likelihood for kind, one in place.after.items()} for place in found
    ]
    means, better = dict[str, dict[str, Estimate | None]](), dict[str, dict[str, Estimate | None]]()
    for name, values in measures.items():
        terms = {kind: _terms(places, values, kind) for kind in KINDS}
        means[name] = {kind: ratio([*some.values()]) for kind, some in terms.items()}
        better[name] = {
            kind: _difference(terms[OWN], some) for kind, some in terms.items() if kind != OWN
        }
    every = [one for place in found for one in place.after.values()]
    written = sum(one.text is not None for one in every)
    return Use(
        places=len(places),
        unsampled=sum(not one.sampled for one in found),
        malformed=sum(one.sampled and not one.formed for one in found),
        texts=len(every),
        unwritten=len(every) - written,
        unlikely=sum(one.likelihood is None for one in every),
        unread=written - sum(map(len, scores)) if scores is not None else 0,
        means=means,
        better=better,
    )


def _rewards(
    found: Sequence[PlaceResult], scores: Sequence[Scores]
) -> list[dict[str, float | None]]:
    """The score of each kind at each place; 0 for a thought of the wrong form."""
    return [
        {**told, **({OWN: 0.0} if one.sampled and not one.formed else {})}
        for one, told in zip(found, scores, strict=True)
    ]


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
    counts = {
        "with a thought of the wrong form": use.malformed,
        "at which the engine gave no thought": use.unsampled,
    }
    texts = {
        "that the engine could not go on with": use.unwritten,
        "whose likelihood it could not tell": use.unlikely,
        "that the judge could not read": use.unread,
    }
    yield f"{use.places} places{_told(counts)}. Texts left out: {_told(texts)[2:] or 'none'}."


def _told(counts: Mapping[str, int]) -> str:
    return "".join(f", {count} {words}" for words, count in counts.items() if count)


def _terms(
    places: Sequence[Place], values: Sequence[Mapping[str, float | None]], kind: str
) -> dict[int, RatioTerm]:
    return {
        number: RatioTerm(place.document, value)
        for number, place in enumerate(places)
        if (value := values[number].get(kind)) is not None
    }


def _difference(own: Values, other: Values) -> Estimate | None:
    common = sorted(own.keys() & other.keys())
    return ratio([own[n] for n in common], [other[n] for n in common]) if common else None


def _shown(one: Estimate | None) -> str:
    if one is None:
        return "–"
    interval = f" [{one.low:.4f}, {one.high:.4f}]" if one.low is not None else ""
    return f"{one.value:.4f}{interval}"
