"""From one question to verdicts: the probability of the verdict tokens, or sampled reasoning.

distribution: one forward pass, one token. The value is the expected value on the scale under the
verdicts' renormalised probabilities; the mass they had before that is kept, and too little of it
(the model wanted to say something else) is no verdict.
reasoning: n answers, each a text that must end with one verdict. One that does not is continued, at
most `judge.sampling.reasks` times: the same prompt, the answer so far and the criterion's answer
form, so that only the verdict is left to say. It is read from the probabilities of the verdict
tokens (once: they would not change), a number from a few sampled ones. A verdict that was asked for
again has a mass; one that was spoken, or is a number, has none. Where fewer than `judge.min_votes`
of the answers could be read, none of them counts.
Nothing that could not be read ever becomes a number.
"""

import asyncio
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Literal

from prewrite.engine.types import Completion, Engine, Prompt, Request, Sample, Sampling
from prewrite.judge.calibration import CalibrationCurve
from prewrite.judge.config import JudgeConfig
from prewrite.judge.criteria import PromptedCriterion

ReadStatus = Literal["ok", "outside", "unparsable", "too_few", "failed"]

_NUMBER_TOKENS = 16  # longest number of a re-ask, with its bracket; one that was cut is not read


@dataclass(frozen=True, slots=True)
class Verdict:
    """One reading. value: 0..1, None unless status is `ok`; mass: None when not measured. raw: the
    value before it was calibrated, None where it was not.
    """

    answer: str
    value: float | None
    mass: float | None
    status: ReadStatus
    raw: float | None = None

    def through(self, curve: CalibrationCurve | None) -> "Verdict":
        """Calibrated; a verdict that was not read stays none."""
        if curve is None or self.value is None:
            return self
        return replace(self, value=curve(self.value), raw=self.value)

    @property
    def as_said(self) -> "Verdict":
        """As the judge gave it."""
        return self if self.raw is None else replace(self, value=self.raw, raw=None)


def failed(reason: str) -> Verdict:
    """No verdict, for there was no answer."""
    return Verdict(reason, None, None, "failed")


async def ask(
    engine: Engine, criterion: PromptedCriterion, pieces: tuple[str, ...], config: JudgeConfig
) -> tuple[list[Verdict], list[Completion]]:
    """Put one question; returns its verdicts (one a vote) and all that the engine answered."""
    if config.readout == "distribution":
        completion = await engine.complete(_for_verdict(criterion, pieces, criterion.answer))
        return [_told(criterion, completion, config)], [completion]
    vote = config.sampling
    sampling = Sampling(vote.max_tokens, vote.temperature, vote.top_p, vote.seed, vote.votes)
    completion = await engine.complete(Request(Prompt(pieces), sampling))
    if completion.error is not None:
        return [failed(completion.error)], [completion]
    votes = await asyncio.gather(
        *(_vote(engine, criterion, pieces, sample, config) for sample in completion.samples)
    )
    verdicts = enough([verdict for verdict, _ in votes], config.min_votes)
    return verdicts, [completion, *(c for _, more in votes for c in more)]


def enough(verdicts: list[Verdict], least: int) -> list[Verdict]:
    """The votes on one question; where fewer than `least` could be read, these do not count."""
    if sum(one.status == "ok" for one in verdicts) >= least:
        return verdicts
    return [
        replace(one, value=None, status="too_few") if one.status == "ok" else one
        for one in verdicts
    ]


async def _vote(
    engine: Engine,
    criterion: PromptedCriterion,
    pieces: tuple[str, ...],
    sample: Sample,
    config: JudgeConfig,
) -> tuple[Verdict, list[Completion]]:
    """The verdict of one reasoned answer, and what it cost to ask for it again."""
    verdict, completions = reasoned(criterion, sample), list[Completion]()
    vote = config.sampling
    answer = f"{sample.text.rstrip()}\n\n{criterion.answer}"
    # An engine that cannot go on from a begun answer would begin anew, and what it says first
    # ("A passage …") is no verdict.
    for number in range(vote.reasks if engine.primes else 0):
        if verdict.status != "unparsable":
            break
        if criterion.verdicts:
            request = _for_verdict(criterion, pieces, answer)
        else:
            seed = vote.seed + number
            sampling = Sampling(
                _NUMBER_TOKENS, vote.temperature, vote.top_p, seed, stop=(")", "\n")
            )
            request = Request(Prompt(pieces, answer), sampling)
        completion = await engine.complete(request)
        completions.append(completion)
        if completion.error is None:
            verdict = _told(criterion, completion, config)
            verdict = replace(verdict, answer=answer + verdict.answer)
    return verdict, completions


def _for_verdict(criterion: PromptedCriterion, pieces: tuple[str, ...], answer: str) -> Request:
    sampling = Sampling(max_tokens=1, temperature=0.0, verdicts=tuple(criterion.verdicts))
    return Request(Prompt(pieces, answer), sampling)


def _told(criterion: PromptedCriterion, completion: Completion, config: JudgeConfig) -> Verdict:
    """The verdict that comes next in an answer begun with the criterion's answer form."""
    if completion.error is not None:
        return failed(completion.error)
    (sample,) = completion.samples
    if sample.finish_reason in ("filtered", "refused"):
        return failed(f"{sample.finish_reason}: {sample.text}")
    if criterion.verdicts:
        return distribution(criterion, sample, config.min_mass)
    whole = replace(sample, text=f"{criterion.answer}{sample.text})")
    return replace(reasoned(criterion, whole), answer=sample.text)


def distribution(criterion: PromptedCriterion, sample: Sample, min_mass: float) -> Verdict:
    """The expected value over the verdict tokens of one answer."""
    shares = sample.verdicts
    mass = sum(shares.values())
    if not mass >= max(min_mass, 1e-9):  # nor is NaN
        return Verdict(sample.text, None, mass, "outside")
    values = {verdict: criterion.share(value) for verdict, value in criterion.verdicts.items()}
    value = sum(share * values[verdict] for verdict, share in shares.items()) / mass
    best = max(shares, key=lambda verdict: shares[verdict])
    return Verdict(best, min(max(value, 0.0), 1.0), min(mass, 1.0), "ok")


def averaged(verdicts: Sequence[Verdict]) -> Verdict:
    """One verdict of those on one question in all assignments of the letters: the mean, or the
    first that could not be read.
    """
    unread = next((one for one in verdicts if one.status != "ok"), None)
    if unread or len(verdicts) == 1:
        return unread or verdicts[0]
    values, masses = [one.value or 0.0 for one in verdicts], [one.mass or 0.0 for one in verdicts]
    return Verdict(" ".join(v.answer for v in verdicts), fmean(values), fmean(masses), "ok")


def reasoned(criterion: PromptedCriterion, sample: Sample) -> Verdict:
    """A reasoning that was cut has not come to its verdict, whatever it quotes."""
    if sample.finish_reason != "stop":
        return Verdict(sample.text, None, None, "unparsable")
    return parse(criterion, sample.text)


def parse(criterion: PromptedCriterion, text: str) -> Verdict:
    """The verdict that the last line of a reasoned answer gives: that line is the answer form, one
    verdict and nothing else. What stands before it may be a quotation of a text that plants one,
    and what stands beside it (`not (1)`, `(1)?`, `(1) or (2)`) may take it back.
    """
    head = re.escape(_plain(criterion.answer).rstrip("( "))
    last = re.search(rf"^[^\w\n]*{head}\s*(.*)\s*\Z", _plain(text), re.IGNORECASE | re.MULTILINE)
    told = _unwrapped(last[1]) if last else ""
    value = _named(criterion, told) if criterion.verdicts else _number(criterion, told)
    if value is None:
        return Verdict(text, None, None, "unparsable")
    return Verdict(text, criterion.share(value), None, "ok")


def _unwrapped(line: str) -> str:
    """Without the brackets and quotation marks around a verdict, and the end of its sentence."""
    line = line.lstrip(" \"'\u201c").rstrip(" \r\"'\u201d.!")
    if line[:1] + line[-1:] in ("()", "[]"):
        line = line[1:-1]
    return line.strip(" \"'")


def _plain(text: str) -> str:
    """Without markdown, which never stands between two digits."""
    return re.sub(r"(?<![0-9*_`])[*_`]+|[*_`]+(?![0-9*_`])", "", text)


def _named(criterion: PromptedCriterion, told: str) -> float | None:
    """The value of the verdict that `told` is."""
    known = {verdict.strip().casefold(): value for verdict, value in criterion.verdicts.items()}
    return known.get(told.casefold())


_NUMBER = r"[-+]?[0-9]+(?:\.[0-9]+|,(?![0-9]{3}(?![0-9]))[0-9]+)?(?:[eE][-+]?[0-9]+)?"
_NUMBER_TOLD = re.compile(rf"({_NUMBER})(?:\s*(?:/|out of)\s*({_NUMBER}))?")


def _number(criterion: PromptedCriterion, told: str) -> float | None:
    """The number that `told` is, if it is on the scale: `7`, `7.25`, `7,25`, and `8/10` where the
    scale ends at 10. A share, a range, a word, a thousand's comma or a second number make it none.
    """
    match = _NUMBER_TOLD.fullmatch(told)
    if not match:
        return None
    high = criterion.scale[1]
    value, top = (float(part.replace(",", ".")) if part else high for part in match.groups())
    return value if criterion.on_scale(value) and top == high else None


def likelihood(completion: Completion) -> Verdict:
    """The geometric mean of the probabilities of a text's tokens; `answer` has their mean log."""
    if completion.error is not None:
        return failed(completion.error)
    mean = fmean(completion.samples[0].logprobs)
    if math.isnan(mean):
        return failed("the model's probabilities are not numbers")
    return Verdict(f"{mean:.6g}", min(math.exp(mean), 1.0), None, "ok")
