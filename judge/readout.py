"""From a question to verdicts: the probability of the verdict tokens, or sampled reasoning.

distribution: one forward pass, one token. The value is the expected value of the scale under the
verdicts' renormalised probabilities; the mass they had before that is kept, and too little of it
(the model wanted to say something else) is no verdict.
reasoning: n answers, each a text that must end with one verdict; a text that does not is no
verdict. Nothing that could not be read ever becomes a number.
"""

import re
from dataclasses import dataclass
from typing import Literal

from engine.types import Completion, Engine, Prompt, Request, Sample, Sampling
from judge.config import JudgeConfig
from judge.criteria import Criterion

ReadStatus = Literal["ok", "outside", "unparsable", "failed"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One reading. value: 0..1, None unless status is `ok`; mass: None when not measured."""

    answer: str
    value: float | None
    mass: float | None
    status: ReadStatus


async def ask(
    engine: Engine, criterion: Criterion, pieces: tuple[str, ...], config: JudgeConfig
) -> tuple[list[Verdict], Completion]:
    """Put one question; returns its verdicts (one a vote) and what the engine answered."""
    verdicts = tuple(criterion.verdicts)
    if config.readout == "distribution":
        sampling = Sampling(max_tokens=1, temperature=0.0, verdicts=verdicts)
        completion = await engine.complete(Request(Prompt(pieces, criterion.answer), sampling))
    else:
        vote = config.sampling
        sampling = Sampling(vote.max_tokens, vote.temperature, vote.top_p, vote.seed, vote.votes)
        completion = await engine.complete(Request(Prompt(pieces), sampling))
    if completion.error is not None:
        return [Verdict(completion.error, None, None, "failed")], completion
    if config.readout == "distribution":
        return [distribution(criterion, completion.samples[0], config.min_mass)], completion
    return [_reasoned(criterion, sample) for sample in completion.samples], completion


def distribution(criterion: Criterion, sample: Sample, min_mass: float) -> Verdict:
    """The expected value over the verdict tokens of one answer."""
    shares = sample.verdicts
    mass = sum(shares.values())
    if not mass >= max(min_mass, 1e-9):  # nor is NaN
        return Verdict(sample.text, None, mass, "outside")
    value = sum(share * criterion.verdicts[verdict] for verdict, share in shares.items()) / mass
    best = max(shares, key=lambda verdict: shares[verdict])
    return Verdict(best, min(max(value, 0.0), 1.0), min(mass, 1.0), "ok")


def _reasoned(criterion: Criterion, sample: Sample) -> Verdict:
    """A reasoning that was cut has not come to its verdict, whatever it quotes."""
    if sample.finish_reason == "length":
        return Verdict(sample.text, None, None, "unparsable")
    return parse(criterion, sample.text)


def parse(criterion: Criterion, text: str) -> Verdict:
    """The verdict a reasoned answer names, in brackets or at the end of its line; one that names
    two different ones has none.
    """
    choices = "|".join(re.escape(verdict) for verdict in criterion.verdicts)
    head = re.escape(criterion.answer.rstrip("( "))
    bracketed, alone = rf"\(\W*({choices})\W*\)", rf"^\W*({choices})\W*$"
    found: set[str] = set()
    for line in re.findall(rf"{head}\s*(.*)", re.sub("[*_`]", "", text), re.IGNORECASE):
        for pattern in (bracketed, alone):
            found |= {verdict.casefold() for verdict in re.findall(pattern, line, re.IGNORECASE)}
    if len(found) != 1:
        return Verdict(text, None, None, "unparsable")
    known = {verdict.casefold(): value for verdict, value in criterion.verdicts.items()}
    return Verdict(text, known[found.pop()], None, "ok")
