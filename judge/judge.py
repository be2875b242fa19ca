"""A judge: an engine that is asked, every distinct question once.

A judgement depends on the judge, the criterion and the texts, so a question that was put before
(a chunk that stands in two documents, a pair that two pools share) is answered from memory and
costs nothing. Memory holds the latest `REMEMBERED` answers, 1.6 KB each: some 300 MB.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from prewrite.base.errors import ConfigError
from prewrite.engine.config import EngineConfig
from prewrite.engine.registry import get_engine
from prewrite.engine.types import Completion, Engine
from prewrite.judge.calibration import CalibrationCurve, fitted_to
from prewrite.judge.classifiers import classify
from prewrite.judge.config import JudgeConfig
from prewrite.judge.criteria import Criterion, Likelihood, PromptedCriterion
from prewrite.judge.pool import Question
from prewrite.judge.readout import Verdict, ask, averaged, likelihood
from prewrite.judge.unread import tally_of
from prewrite.prompts.usage import usage_of
from prewrite.shards.failures import FailureTally
from prewrite.shards.manifest import Usage

REMEMBERED = 200_000

CostedAnswer = tuple[Sequence[Verdict], Usage]


class Judge:
    """Answers questions. name: what `judgements/` calls it; engine: None where only classifiers
    and functions judge; curves: by criterion; tally: its verdicts so far, and why some could not be
    read.
    """

    def __init__(
        self,
        name: str | None,
        engine: Engine | None,
        config: JudgeConfig,
        curves: Mapping[str, CalibrationCurve] | None = None,
    ) -> None:
        self.name, self.engine, self.config, self.curves = name, engine, config, curves or {}
        self.tally = FailureTally()
        self._known: OrderedDict[bytes, asyncio.Task[CostedAnswer]] = OrderedDict()

    async def ask(self, question: Question, fence: str) -> CostedAnswer:
        """Verdicts, one a vote, and what they cost; EngineError when the engine is dead."""
        key = self._key(question, fence)
        if known := self._known.get(key):
            self._known.move_to_end(key)
            return (await known)[0], Usage()
        task = self._known[key] = asyncio.create_task(self._counted(question, fence))
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        try:
            answer = await task
        except BaseException:
            self._known.pop(key, None)
            raise
        if any(verdict.status == "failed" for verdict in answer[0]):
            self._known.pop(key, None)  # the next one may fare better
        return answer

    async def _counted(self, question: Question, fence: str) -> CostedAnswer:
        verdicts, usage = await self._put(question, fence)
        self.tally.add(tally_of(question.criterion, question.pool.row_id, verdicts))
        return verdicts, usage

    async def _put(self, question: Question, fence: str) -> CostedAnswer:
        criterion, pool = question.criterion, question.pool
        if isinstance(criterion, PromptedCriterion):
            verdicts, completions = await self._prompted(question, criterion, fence)
        elif isinstance(criterion, Likelihood):
            text = pool.candidates[question.candidate]
            completion = await self._model.likelihood(pool.context, text)
            verdicts, completions = [likelihood(completion)], [completion]
        else:
            return [await classify(criterion, _texts(question))], Usage()
        curve = self.curves.get(criterion.name)
        return [one.through(curve) for one in verdicts], usage_of(*completions)

    async def _prompted(
        self, question: Question, criterion: PromptedCriterion, fence: str
    ) -> tuple[list[Verdict], list[Completion]]:
        """Ask in each assignment of the letters; one verdict a vote, and all that it cost."""
        about, reasoning = self.config.about(criterion), self.config.readout == "reasoning"
        forms = [replace(question, criterion=form) for form in criterion.assignments]
        asked = [
            ask(self._model, form, one.pieces(fence, reasoning), about)
            for form, one in zip(criterion.assignments, forms, strict=True)
        ]
        told = await asyncio.gather(*asked)
        verdicts = [averaged(some) for some in zip(*(found for found, _ in told), strict=True)]
        return verdicts, [completion for _, some in told for completion in some]

    @property
    def _model(self) -> Engine:
        assert self.engine, "a criterion that asks needs an engine"
        return self.engine

    def _key(self, question: Question, fence: str) -> bytes:
        """Digest of all that the verdicts depend on beside this judge."""
        texts: Sequence[str] = _texts(question)
        if isinstance(question.criterion, PromptedCriterion):
            texts = question.pieces(fence, self.config.readout == "reasoning")
        digest = hashlib.blake2b(digest_size=16)
        for text in (question.criterion.name, *texts):
            data = text.encode("utf-8", "surrogatepass")
            digest.update(len(data).to_bytes(8, "little") + data)
        return digest.digest()


def load_judges(
    config: JudgeConfig, engines: Mapping[str, EngineConfig], criteria: Iterable[Criterion]
) -> list[Judge]:
    """The panel, ready to be asked about `criteria`; no engine is loaded where none is needed.

    EngineError when one cannot be loaded, or does not have a verdict as one token; ConfigError for
    a calibration that was made for another judge.
    """
    asked = [criterion for criterion in criteria if criterion.needs_engine]
    if not asked:
        return [Judge(name, None, config) for name in config.panel]
    judges = []
    for name in config.panel:
        curves = _curves(config, name, engines[name], asked)
        engine = get_engine(engines[name])
        if config.readout == "distribution":
            engine.check_verdicts(
                v for c in asked if isinstance(c, PromptedCriterion) for v in c.verdicts
            )
        judges.append(Judge(name, engine, config, curves))
    return judges


def _curves(
    config: JudgeConfig, name: str, engine: EngineConfig, criteria: Iterable[Criterion]
) -> dict[str, CalibrationCurve]:
    """Criterion → the curve of a judge; ConfigError for one that was fitted to something else."""
    found = {c.name: curve for c in criteria if (curve := config.curves(c).get(name))}
    for criterion in criteria:
        curve = found.get(criterion.name)
        if curve and curve.of != fitted_to(criterion, engine):
            raise ConfigError(
                f"{config.calibration}: {criterion.name}.{name}: found a curve of another model, "
                "or of the criterion in another form; run `prewrite judge calibrate` again"
            )
    return found


def fence_for(criterion: Criterion, texts: Sequence[str]) -> str:
    """What makes the prompt's tags unlike anything in `texts`; nothing where nothing is asked."""
    return criterion.prompt.fence(texts) if isinstance(criterion, PromptedCriterion) else ""


def _texts(question: Question) -> tuple[str, str, str]:
    """Context, reference, candidate."""
    pool = question.pool
    return "".join(pool.context), pool.reference, pool.candidates[question.candidate]
