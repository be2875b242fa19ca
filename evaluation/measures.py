"""Numbers of one model on one split, out of its texts and their scores.

Judged: `quality_win_rate` of a pairwise criterion against the base (0.5: as good), `safety` of any
other, the mean over the texts that could be judged; `…_judged` is their number, `…_consistency` how
often both orders of a pair name the same winner. Judge-free, told from the text: repetition,
distinct_1 and distinct_2, tokens, characters, ended, refusals. Judge-free, told by the model:
perplexity and bits_per_byte of the originals. A perplexity is per token, so those of different
tokenizers do not compare; bits per byte do.

Distinct-n is taken over all texts together, since a model that says one thing everywhere repeats
nothing within a text; it falls as texts get longer and more, so each counts with its first `WORDS`
words, and figures compare over the same cut points only. It has no interval: a draw with the same
document twice would repeat itself.

`difference_…` is the difference to the base over the cut points known of both.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import log

import numpy as np

from prewrite.base.intervals import RatioTerm, ratio
from prewrite.evaluation.results import MetricValue
from prewrite.evaluation.writing import GREEDY, ORIGINAL, SAMPLED
from prewrite.judge.criteria import Criterion
from prewrite.prompts.text import distinct_share, is_refusal, repetition
from prewrite.shards.schema import Row

WORDS = 50
DIFFERENCE = "difference_"

ContinuationKey = tuple[str, int]
"""(row id, number of the continuation)."""
TermsByText = Mapping[ContinuationKey, RatioTerm]

HIGHER: Mapping[str, bool] = {
    "repetition": False,
    "distinct_1": True,
    "distinct_2": True,
    "refusals": False,
    "perplexity": False,
    "bits_per_byte": False,
}
"""Which way is better; of the others, lengths for example, neither is."""


def measure(
    own: tuple[Sequence[Row], Sequence[Row]],
    base: tuple[Sequence[Row], Sequence[Row]] | None,
    criteria: Sequence[Criterion],
) -> list[MetricValue]:
    """All numbers of a model. own, base: the rows of its continuations and of its scores on one
    split; base is None for the base itself.
    """
    found = list[MetricValue]()
    there = {row["decoding"] for row in own[0]}
    for decoding in (one for one in (GREEDY, SAMPLED) if one in there):
        mine, others = (_of(rows, decoding) for rows in (own, base or ([], [])))
        found += _judged(decoding, mine[1], others[1] if base else None, criteria)
        found += _told(decoding, mine[0], others[0] if base else None)
    mine_originals, others_originals = (
        [row for row in rows if row["decoding"] == ORIGINAL and row["logprob"] is not None]
        for rows in (own[0], base[0] if base else [])
    )
    if ORIGINAL in there:
        found += _likelihoods(mine_originals, others_originals if base else None)
    return found


def _of(rows: tuple[Sequence[Row], Sequence[Row]], decoding: str) -> tuple[list[Row], list[Row]]:
    texts, scores = ([row for row in some if row["decoding"] == decoding] for some in rows)
    return [row for row in texts if row["text"] is not None], scores


def _judged(
    decoding: str,
    own: Sequence[Row],
    base: Sequence[Row] | None,
    criteria: Sequence[Criterion],
) -> Iterator[MetricValue]:
    for criterion in criteria:
        pairwise = criterion.kind == "pairwise"
        name = f"{criterion.name}_win_rate" if pairwise else criterion.name
        if pairwise and base is None:
            continue
        mine = _scores(own, criterion.name, "score")
        yield MetricValue(f"{name}_judged", decoding, float(len(mine)))
        yield _measure(name, decoding, mine, better=True)
        if pairwise:
            both = _scores(own, criterion.name, "consistency")
            yield _measure(f"{criterion.name}_consistency", decoding, both, better=None)
        elif base is not None:
            others = _scores(base, criterion.name, "score")
            yield from _difference(name, decoding, mine, others, better=True)


def _scores(rows: Sequence[Row], criterion: str, column: str) -> TermsByText:
    return {
        (row["id"], row["number"]): RatioTerm(row["doc_id"], row[column])
        for row in rows
        if row["criterion"] == criterion and row[column] is not None
    }


def _told(decoding: str, own: Sequence[Row], base: Sequence[Row] | None) -> Iterator[MetricValue]:
    for name, tell in _TELL.items():
        mine = _each(own, tell)
        better = HIGHER.get(name)
        yield _measure(name, decoding, mine, better)
        if base is not None:
            yield from _difference(name, decoding, mine, _each(base, tell), better)
    for n in (1, 2):
        value = distinct_share([row["text"] for row in own], n, WORDS)
        yield MetricValue(f"distinct_{n}", decoding, value, better=True)


_TELL: Mapping[str, Callable[[Row], float | None]] = {
    "repetition": lambda row: repetition(row["text"]),
    "refusals": lambda row: float(is_refusal(row["text"])),
    "tokens": lambda row: float(row["tokens"]),
    "characters": lambda row: float(len(row["text"])),
    "ended": lambda row: float(row["ended"]),
}
"""What can be told of one continuation."""


def _each(rows: Sequence[Row], tell: Callable[[Row], float | None]) -> TermsByText:
    told = (((row["id"], row["number"]), row["doc_id"], tell(row)) for row in rows)
    return {key: RatioTerm(document, value) for key, document, value in told if value is not None}


def _likelihoods(own: Sequence[Row], base: Sequence[Row] | None) -> Iterator[MetricValue]:
    yield _measure("perplexity", "none", _per_token(own), better=False, through=np.exp)
    mine = _per_byte(own)
    yield _measure("bits_per_byte", "none", mine, better=False)
    if base is not None:
        yield from _difference("bits_per_byte", "none", mine, _per_byte(base), better=False)


def _per_token(rows: Sequence[Row]) -> TermsByText:
    return {
        (row["id"], 0): RatioTerm(row["doc_id"], -row["logprob"], row["tokens"]) for row in rows
    }


def _per_byte(rows: Sequence[Row]) -> TermsByText:
    return {
        (row["id"], 0): RatioTerm(
            row["doc_id"],
            -row["logprob"] / log(2),
            len(row["text"].encode("utf-8", "surrogatepass")),
        )
        for row in rows
    }


def _measure(
    name: str,
    decoding: str,
    values: TermsByText,
    better: bool | None,
    minus: TermsByText | None = None,
    through: Callable[..., np.ndarray] | None = None,
) -> MetricValue:
    found = ratio(list(values.values()), list((minus or {}).values()), through)
    if found is None:
        return MetricValue(name, decoding, None, better=better)
    return MetricValue(name, decoding, found.value, found.stderr, found.low, found.high, better)


def _difference(
    name: str, decoding: str, own: TermsByText, base: TermsByText, better: bool | None
) -> Iterator[MetricValue]:
    common = own.keys() & base.keys()
    if common:
        mine, others = ({key: some[key] for key in sorted(common)} for some in (own, base))
        yield _measure(DIFFERENCE + name, decoding, mine, better, minus=others)
