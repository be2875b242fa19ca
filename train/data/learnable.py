"""Whether a phase can learn anything from the rows of the sets, told from their narrow columns.

Costs status and scores of one part, as a rule, for it stops at the first row that is learnt from;
where there is none it has read these columns of every part, and knows why.

Shape suffixes: R rows of a part, K kinds of texts that the phase lays out.
"""

from collections import Counter
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from prewrite.shards.filters import Mask
from prewrite.shards.schema import USABLE
from prewrite.train.config.phases import Nll, Phase, RfNll
from prewrite.train.data.index import mask_of, read_part
from prewrite.train.data.source import TrainingSet


def learnable(sources: Iterable[TrainingSet], phase: Phase) -> Counter[str]:
    """Rows that pass the filters of `phase`: `learnt`, or what they lack, in the words of
    `train.learnt`; those of the parts up to the first with one that is learnt from.
    """
    counts = Counter[str](learnt=0, equal=0, unscored=0, missing=0)
    for source in sources:
        filters = [*source.filters, *source.phases[phase.name]]
        scores = [f"{text}_score" for text in phase.stored if phase.needs_scores]
        statuses = [f"{text}_status" for text in phase.stored if text != "original"]
        columns = {"chunk", *statuses, *scores}.union(*(item.columns for item in filters))
        for part in source.files:
            table = read_part(source.shards, part, sorted(columns))
            counts.update(_count(table, phase, mask_of(table, filters)))
            if counts["learnt"]:
                return counts
    return counts


def _count(table: pa.Table, phase: Phase, passing: Mask) -> dict[str, int]:
    there_KR, scores_KR, own_KR = _texts(table, phase)
    scored_KR = ~np.isnan(scores_KR)
    texts_R, scored_R = there_KR.sum(0), scored_KR.sum(0)
    learnt_R = np.zeros(len(texts_R), np.bool_)
    differ_R = np.sum(own_KR & scored_KR, 0) + np.any(~own_KR & scored_KR, 0) > 1
    for part in phase.objective:
        match part:
            case Nll():
                learnt_R |= there_KR[phase.stored.index(part.text)]
            case RfNll():
                learnt_R |= scored_R >= 1
            case _:
                spread_R = np.fmax.reduce(scores_KR, 0) - np.fmin.reduce(scores_KR, 0)
                learnt_R |= (spread_R > 0) & differ_R
    least = 1 if any(isinstance(part, RfNll) for part in phase.objective) else 2
    compared_R = ~learnt_R & (texts_R >= least) & phase.needs_scores
    equal_R = compared_R & (scored_R >= 2)
    found = {
        "learnt": learnt_R,
        "equal": equal_R,
        "unscored": compared_R & ~equal_R,
        "missing": ~learnt_R & ~compared_R,
    }
    return {name: int((mask_R & passing).sum()) for name, mask_R in found.items()}


def _texts(table: pa.Table, phase: Phase) -> tuple[Mask, NDArray[np.float32], Mask]:
    """Of the texts that the phase lays out: which there are, their scores, NaN where there is none,
    and which are there and no copies of the original, nor itself.
    """
    statuses = [_statuses(table, kind) for kind in phase.stored]
    there_KR = np.stack([np.isin(status_R, USABLE) for status_R in statuses])
    own_KR = there_KR & np.stack([status_R != "copied" for status_R in statuses])
    scores_KR = np.full(there_KR.shape, np.nan, np.float32)
    for number, kind in enumerate(phase.stored if phase.needs_scores else ()):
        scores_KR[number] = table[f"{kind}_score"].to_numpy()
    scores_KR[~there_KR] = np.nan
    return there_KR, scores_KR, own_KR


def _statuses(table: pa.Table, kind: str) -> NDArray[np.str_]:
    """The status of a text in each row; the original is as its copies are."""
    if kind == "original":
        return np.full(table.num_rows, "copied")
    return table[f"{kind}_status"].cast(pa.string()).to_numpy()
