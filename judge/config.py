"""The recipe of `prewrite judge`, and the sections it shares with `prewrite rewrite`."""

from collections.abc import Collection, Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from prewrite.base.apart import lies_in
from prewrite.base.config import Location, Recipe, Section, near, refuse
from prewrite.base.errors import ConfigError
from prewrite.base.fingerprint import fingerprint
from prewrite.engine.config import EngineConfig
from prewrite.judge.calibration import CalibrationCurve, load_curves
from prewrite.judge.combine import Combine
from prewrite.judge.criteria import Criterion, PromptedCriterion, load_criterion
from prewrite.judge.schedule import OrderRule, Purpose
from prewrite.judge.votes import Aggregate
from prewrite.pipeline.config import RunConfig
from prewrite.shards.schema import Rewrites


class VoteSampling(Section):
    """How reasoning is sampled (arXiv 2601.21343: T = 1, top_p = 0.6, five votes)."""

    votes: int = Field(5, ge=1, description="answers sampled for a question")
    temperature: float = Field(1.0, ge=0, description="sampling temperature; 0 is greedy")
    top_p: float = Field(0.6, gt=0, le=1, description="share of probability that is sampled from")
    max_tokens: int = Field(512, ge=1, description="longest reasoning with its verdict, in tokens")
    seed: int = Field(0, description="seed of the votes")
    reasks: int = Field(
        1, ge=0, description="times an answer without a readable verdict is continued"
    )
    aggregate: Aggregate = Field(
        "mean",
        description="what a text's votes become: their `mean`, or the verdict of their `majority`",
    )

    @model_serializer(mode="wrap")
    def _without_mean(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """The mean is left out: what was judged before there was a choice keeps its identity."""
        found: dict[str, Any] = dump(self)
        return {key: value for key, value in found.items() if (key, value) != ("aggregate", "mean")}


class PoolsConfig(Section):
    """How the candidates of one chunk are compared by a pairwise criterion."""

    schedule: Purpose = Field(
        "auto",
        description="pairs that are asked about: enough for the best and the worst (`auto`), "
        "enough for all ranks, all pairs, or each text against the original alone (`pivot`)",
    )
    order: OrderRule = Field(
        "balanced",
        description="which text is first: each equally often (`balanced`), each pair in both "
        "orders, or one order that is drawn",
    )
    seed: int = Field(0, description="seed of the pairs and their orders")


class JudgeConfig(Section):
    """How texts are scored."""

    engine: str | list[str] = Field(
        description="a name under `engines`; a list of names is a panel, whose judges are averaged"
    )
    input: Location | None = Field(
        None,
        description="the set to score; required by `prewrite judge`, not read by `prewrite "
        "rewrite`; the other judge commands read `output` where it is null",
    )
    criteria: list[str] = Field(
        ["quality", "safety", "factuality-alone"],
        min_length=1,
        description="shipped names, or paths of criterion files",
    )
    combine: Combine = Field("sum", description="how the score is computed from the criteria")
    weights: dict[str, Annotated[float, Field(ge=0)]] = Field(
        {}, description="criterion → weight in the score; where none is given, the criterion's own"
    )
    readout: Literal["distribution", "reasoning"] = Field(
        "distribution", description="read the probability of the verdicts, or sample reasoning"
    )
    min_mass: float = Field(
        0.1,
        ge=0,
        le=1,
        description="less probability than this on all verdicts together is no verdict; for "
        "`readout: distribution`",
    )
    sampling: VoteSampling = Field(
        VoteSampling(), description="how reasoning is sampled; for `readout: reasoning`"
    )
    min_votes: int = Field(
        1,
        ge=1,
        description="fewer votes on a question that could be read are no verdict; for `readout: "
        "reasoning`",
    )
    sampling_by_criterion: dict[str, VoteSampling] = Field(
        {},
        description="criterion → what is sampled in another way for it; keys that are left out are "
        "those of `sampling`",
    )
    pools: PoolsConfig = PoolsConfig()
    max_context_tokens: int = Field(
        1920,
        ge=1,
        description="longest context shown to the judge, in tokens of the chunking tokenizer",
    )
    calibration: str | None = Field(
        None,
        description="a file of `prewrite judge calibrate`, whose curves turn the judge's values "
        "into those of labels; null: as the judge gives them",
    )

    @model_serializer(mode="wrap")
    def _without_nothing(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """As `VoteSampling` does."""
        found: dict[str, Any] = dump(self)
        bare: dict[str, Any] = {"sampling_by_criterion": {}, "calibration": None, "min_votes": 1}
        return {k: value for k, value in found.items() if k not in bare or value != bare[k]}

    @field_validator("sampling_by_criterion", mode="before")
    @classmethod
    def _over_sampling(cls, found: Any, info: ValidationInfo) -> Any:
        sampling = info.data.get("sampling")
        if not isinstance(found, dict) or sampling is None:
            return found
        below = sampling.model_dump()
        return {name: below | one if isinstance(one, dict) else one for name, one in found.items()}

    @property
    def panel(self) -> list[str]:
        """The names of the judges."""
        return [self.engine] if isinstance(self.engine, str) else self.engine

    def about(self, criterion: Criterion) -> "JudgeConfig":
        """This section as it holds for one criterion: with the sampling of that one."""
        own = self.sampling_by_criterion.get(criterion.name, self.sampling)
        return self.model_copy(update={"sampling": own, "sampling_by_criterion": {}})

    def aggregate(self, criterion: Criterion) -> Aggregate:
        """What the votes on one question about a criterion become; a distribution is one vote,
        which counts as it is.
        """
        own = self.about(criterion).sampling
        return own.aggregate if self.readout == "reasoning" else "mean"

    def curves(self, criterion: Criterion) -> dict[str, CalibrationCurve]:
        """Judge → its curve on a criterion, as far as there is one."""
        found = load_curves(self.calibration).get(criterion.name, {}) if self.calibration else {}
        return {name: found[name] for name in self.panel if name in found}

    def calibrated(self, criterion: Criterion) -> dict[str, str]:
        """The digest of its curves, for the identity of what was scored; nothing without any."""
        curves = {name: curve.model_dump() for name, curve in self.curves(criterion).items()}
        return {"calibration": fingerprint(curves)} if curves else {}

    def asking(self, min_votes: int = 1, **changed: int) -> "JudgeConfig":
        """This section with other values in the sampling of every criterion."""
        others = {
            name: one.model_copy(update=changed) for name, one in self.sampling_by_criterion.items()
        }
        sampling = self.sampling.model_copy(update=changed)
        sampled = {"sampling": sampling, "sampling_by_criterion": others}
        return self.model_copy(update=sampled | {"min_votes": min_votes})

    def votes_on(self, criterion: Criterion) -> int:
        """Answers to one question on a criterion."""
        sampled = isinstance(criterion, PromptedCriterion) and self.readout == "reasoning"
        return self.about(criterion).sampling.votes if sampled else 1

    def weights_of(self, criteria: Iterable[Criterion]) -> list[float]:
        """The weight of each criterion in the score."""
        return [self.weights.get(criterion.name, criterion.weight) for criterion in criteria]


class JudgeSections(Recipe):
    """The sections of judging; a recipe without `judge` rewrites only."""

    engines: dict[str, EngineConfig] = {}
    judge: JudgeConfig | None = None
    run: RunConfig = RunConfig()

    @model_validator(mode="after")
    def _judge_fits(self) -> "JudgeSections":
        if self.judge:
            known_judges("judge.engine", self.judge, self.engines)
            if len(set(self.judge.panel)) < max(1, len(self.judge.panel)):
                raise refuse(f"judge.engine: found {self.judge.panel}; accepted: distinct names")
            known_criteria(self.judge)
        return self


class JudgeRecipe(JudgeSections):
    """What `prewrite judge` reads."""

    judge: JudgeConfig

    @model_validator(mode="after")
    def _input_given(self) -> "JudgeRecipe":
        refuse_no_input(self.judge, self.output, "to score")
        return self


def refuse_no_input(judge: JudgeConfig, output: str, purpose: str) -> None:
    """Refuse a recipe without `judge.input`, or with an output that lies in it."""
    if not judge.input:
        raise refuse(f"judge.input: this key is required here: the set {purpose}")
    if lies_in(output, judge.input):
        raise refuse(
            f"output: found '{output}', which is or lies in judge.input; accepted: another"
        )


def known_criteria(judge: JudgeConfig) -> None:
    """Refuse criteria that cannot be read, share a column or do not fit the read-out, and weights
    and curves of others.
    """
    criteria = [load_criterion(name) for name in judge.criteria]
    for criterion in criteria:
        _read_out_fits(judge, criterion)
        votes = judge.votes_on(criterion)
        if isinstance(criterion, PromptedCriterion) and judge.min_votes > votes:
            raise refuse(
                f"judge.min_votes: found {judge.min_votes}; accepted with '{criterion.name}' and "
                f"readout: {judge.readout}: at most {votes}, the votes on a question"
            )
    names = [criterion.name for criterion in criteria]
    for name in names:
        if names.count(name) > 1:
            raise refuse(f"judge.criteria: found '{name}' twice")
    for key in ("weights", "sampling_by_criterion"):
        for name in getattr(judge, key):
            if name not in names:
                hint, accepted = near(name, names), ", ".join(names)
                raise refuse(f"judge.{key}: found '{name}';{hint} accepted: {accepted}")
    if judge.calibration:
        _known_curves(judge, criteria)


def _read_out_fits(judge: JudgeConfig, criterion: Criterion) -> None:
    if not isinstance(criterion, PromptedCriterion):
        return
    if judge.readout == "distribution" and not criterion.verdicts:
        raise refuse(
            f"judge.readout: found 'distribution'; accepted with '{criterion.name}', which has no "
            "verdicts: reasoning"
        )
    if judge.readout == "reasoning" and criterion.form == "both":
        raise refuse(
            f"judge.readout: found 'reasoning'; accepted with '{criterion.name}', whose form is "
            "both: distribution"
        )


def _known_curves(judge: JudgeConfig, criteria: Iterable[Criterion]) -> None:
    if judge.readout != "distribution":
        raise refuse("judge.readout: found 'reasoning'; accepted with a calibration: distribution")
    if not any(judge.curves(criterion) for criterion in criteria):
        panel, names = (", ".join(some) for some in (judge.panel, (c.name for c in criteria)))
        raise refuse(
            f"judge.calibration: found '{judge.calibration}', which has no curve of {panel} on "
            f"{names}; accepted: one that has"
        )


def refuse_pairwise(judge: JudgeConfig | None, rewrites: Rewrites, where: str) -> None:
    """ConfigError for criteria that compare texts of a set where each chunk has one text."""
    for name in judge.criteria if judge and rewrites is None else ():
        criterion = load_criterion(name)
        if criterion.kind == "pairwise":
            raise ConfigError(
                f"judge.criteria: found '{criterion.name}', which compares texts; accepted with "
                f"{where}, where each chunk has one text: criteria that look at each alone, or "
                "judge: null"
            )


def known_judges(key: str, judge: JudgeConfig, engines: dict[str, EngineConfig]) -> None:
    """Refuse judges that `engines` does not have. One that is asked has its head in float32 from
    here on, and with it whoever else uses this engine: a model is loaded once.
    """
    is_asked = any(load_criterion(name).needs_engine for name in judge.criteria)
    for name in judge.panel:
        known_engine(key, name, engines)
        if is_asked:
            engines[name] = engines[name].as_judge()


def heads(
    judge: JudgeConfig, engines: Mapping[str, EngineConfig], others: Collection[str] = ()
) -> list[str]:
    """Lines of a dry run: in what type the head of each judge that is asked computes. others: names
    of the engines that also do something else.
    """
    if not any(load_criterion(name).needs_engine for name in judge.criteria):
        return []
    return [_head_line(name, engines[name], name in others) for name in judge.panel]


def _head_line(name: str, engine: EngineConfig, shared: bool) -> str:
    if engine.kind == "endpoint":
        return f"  {name}: an endpoint; in what type its head computes is unknown"
    also = ", also where it does not judge" if shared else ""
    return f"  {name}: its head computes in {engine.head}{also}"


def known_engine(key: str, name: str, engines: Mapping[str, object]) -> None:
    """Refuse an engine that `engines` does not have."""
    if not engines:
        raise refuse("engines: this key is required")
    if name not in engines:
        accepted = ", ".join(engines)
        hint = near(name, engines)
        raise refuse(f"{key}: found '{name}';{hint} accepted (see engines): {accepted}")
