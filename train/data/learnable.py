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
from prewrite.shards.schema import TEXTS, USABLE
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
        scores = [f"{text}_score" for text in TEXTS if phase.needs_scores]
        columns = {"chunk", "rewrite_status", *scores}.union(*(item.columns for item in filters))
        for part in source.files:
            table = read_part(source.shards, part, sorted(columns))
            counts.update(_count(table, phase, mask_of(table, filters)))
            if counts["learnt"]:
                return counts
    return counts


def _count(table: pa.Table, phase: Phase, passing: Mask) -> dict[str, int]:
    there_KR, scores_KR, status_R = _texts(table, phase)
    texts_R, scored_R = there_KR.sum(0), (~np.isnan(scores_KR)).sum(0)
    learnt_R = np.zeros(len(status_R), np.bool_)
    for part in phase.objective:
        match part:
            case Nll():
                learnt_R |= there_KR[phase.stored.index(part.text)]
            case RfNll():
                learnt_R |= scored_R >= 1
            case _:
                learnt_R |= (np.ptp(scores_KR, 0) > 0) & (status_R != "copied")
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


def _texts(table: pa.Table, phase: Phase) -> tuple[Mask, NDArray[np.float32], NDArray[np.str_]]:
    """Of the texts that the phase lays out: which there are, their scores, NaN where there is none,
    and the status of the rewrites.
    """
    status_R = table["rewrite_status"].cast(pa.string()).to_numpy()
    usable_R = np.isin(status_R, USABLE)
    there_KR = np.stack([usable_R | (kind == "original") for kind in phase.stored])
    scores_KR = np.full(there_KR.shape, np.nan, np.float32)
    for number, kind in enumerate(phase.stored if phase.needs_scores else ()):
        scores_KR[number] = table[f"{kind}_score"].to_numpy()
    scores_KR[~there_KR] = np.nan
    return there_KR, scores_KR, status_R
