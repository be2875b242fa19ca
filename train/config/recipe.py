"""The recipe of `prewrite train`, and which engines, criteria and places fit together in it."""

from math import fsum
from typing import Self

from pydantic import model_validator

from prewrite.base.config import Recipe, refuse
from prewrite.base.errors import ConfigError
from prewrite.engine.config import EngineConfig, VllmConfig
from prewrite.judge.config import JudgeConfig, known_criteria, known_engine, known_judges
from prewrite.judge.criteria import Criterion, PromptedCriterion, load_criterion
from prewrite.prompts.config import RewriteConfig
from prewrite.prompts.load import length_of, load_template, refuse_other_form
from prewrite.train.config.inputs import refuse_overlap
from prewrite.train.config.sections import TrainConfig, is_one
from prewrite.train.config.task import RewriteTask, ThinkTask


class TrainRecipe(Recipe):
    """What `prewrite train` reads."""

    engines: dict[str, EngineConfig] = {}
    train: TrainConfig

    @model_validator(mode="after")
    def _engines_fit(self) -> Self:
        rollouts, path = self.train.rollouts, self.train.model.path
        if not rollouts:
            return self
        known_engine("train.rollouts.engine", rollouts.engine, self.engines)
        if isinstance(self.train.task, ThinkTask) and self.train.task.reference:
            known_engine("train.task.reference", self.train.task.reference, self.engines)
            if self.train.task.reference == rollouts.engine:
                raise refuse(
                    f"train.task.reference: found '{rollouts.engine}', the policy's engine, whose "
                    "weights change; accepted: another name under engines"
                )
            self.engines[self.train.task.reference] = self.engines[
                self.train.task.reference
            ].as_judge()
        if rollouts.judge:
            known_judges("train.rollouts.judge.engine", rollouts.judge, self.engines)
            known_criteria(rollouts.judge)
            self._task_fits(rollouts.judge)
            if self.train.prompted:
                self._scale_fits(rollouts.judge)
            else:
                self._pools_fit(rollouts.judge)
        policy, longest = self.engines[rollouts.engine], self.train.batch.max_seq_len
        if not isinstance(policy, VllmConfig) or policy.model != path:
            found = f"{policy.kind} {policy.model}"
            raise refuse(
                f"engines.{rollouts.engine}: found {found}; accepted for train.rollouts.engine: "
                f"vllm {path}, the model that is trained"
            )
        if policy.max_model_len and policy.max_model_len < longest:
            raise refuse(
                f"engines.{rollouts.engine}.max_model_len: found {policy.max_model_len}; accepted "
                f"for train.rollouts.engine: at least train.batch.max_seq_len, {longest}"
            )
        return self

    def _task_fits(self, judge: JudgeConfig) -> None:
        """Refuse a judge of a prompted task that changes as it judges, and games between rollouts
        where each is to meet the original; of a thought's continuation no two are compared.
        """
        kind = self.train.task.kind
        asked = any(load_criterion(name).needs_engine for name in judge.criteria)
        for name in judge.panel if self.train.prompted and asked else ():
            if is_one(self.engines[name].model, self.train.model.path):
                raise refuse(
                    f"engines.{name}.model: found '{self.engines[name].model}', the model that is "
                    f"trained; accepted for train.rollouts.judge with train.task.kind {kind}: "
                    "another one"
                )
        compares = [c.name for c in map(load_criterion, judge.criteria) if c.kind == "pairwise"]
        if kind == "think" and compares:
            raise refuse(
                f"train.rollouts.judge.criteria: found {compares[0]}, which compares texts; "
                "accepted with train.task.kind think: criteria that look at one, beside the "
                "reference"
            )
        if self.train.prompted and compares and judge.pools.schedule != "pivot":
            raise refuse(
                f"train.rollouts.judge.pools.schedule: found '{judge.pools.schedule}'; accepted "
                f"with train.task.kind rewrite and {compares[0]}, which compares texts: pivot, "
                "each rollout against the original"
            )
        if self.train.prompted and compares and judge.pools.order != "both":
            raise refuse(
                f"train.rollouts.judge.pools.order: found '{judge.pools.order}'; accepted with "
                f"train.task.kind rewrite and {compares[0]}, which compares texts: both, or a "
                "liking for a place would count among the rollouts of a group"
            )

    def _scale_fits(self, judge: JudgeConfig) -> None:
        """Refuse scores beyond the scale of what is copied, or has the wrong form: 0 to 1."""
        most = fsum(judge.weights_of([load_criterion(name) for name in judge.criteria]))
        if judge.combine == "sum" and most > 1:
            raise refuse(
                f"train.rollouts.judge.combine: found 'sum', with which a rewrite earns up to "
                f"{most:g}; accepted with train.task.kind rewrite: mean, product or min, for an "
                "exact copy earns 1"
            )

    @model_validator(mode="after")
    def _labels_fit(self) -> Self:
        """Refuse labels of a criterion that no model is asked about, or not by reasoning, or with
        the original as its own reference.
        """
        named = [(f"data.{n}", data.criterion) for n, data in enumerate(self.train.data)]
        named += [(key, sample.criterion) for key, sample in self.train.probes.items()]
        for key, name in named:
            criterion = _named(f"train.{key}.criterion", name) if name else None
            if criterion and criterion.has_reference:
                raise refuse(
                    f"train.{key}.criterion: found '{name}', which shows the original as a "
                    "reference; accepted: one that does not, for the original itself is asked about"
                )
            if isinstance(criterion, PromptedCriterion) and criterion.form == "both":
                raise refuse(
                    f"train.{key}.criterion: found '{name}', whose form is both; accepted: letters "
                    "or words, for a judge that reasons is asked in one way"
                )
            if criterion and not isinstance(criterion, PromptedCriterion):
                raise refuse(
                    f"train.{key}.criterion: found '{name}', of the kind {criterion.kind}; "
                    "accepted: pairwise or pointwise, which a model is asked"
                )
        return self

    @model_validator(mode="after")
    def _template_fits(self) -> Self:
        """Refuse a template that is not there, lengths that no text has, and copies under a
        template whose copies are failures.
        """
        task = self.train.task
        if not isinstance(task, RewriteTask):
            return self
        template = load_template(task.template, "train.task.template")
        given = RewriteConfig(engine="policy", template=task.template, length=task.length)
        length_of(given, template, "train.task.")
        refuse_other_form(given, template, "train.task.")
        if task.copies and not template.continues:
            raise refuse(
                f"train.task.copies: found '{task.copies}'; accepted with the template "
                f"{task.template}: null, for it makes another text, and a copy is a failure"
            )
        return self

    def _pools_fit(self, judge: JudgeConfig) -> None:
        """Refuse the original as a candidate where it is the reference, in a pool or as what a
        probe meets, and pools without it where it is the pivot.
        """
        criteria = [load_criterion(name) for name in judge.criteria]
        known = [criterion.name for criterion in criteria if criterion.has_reference]
        if known and self.train.rollouts and self.train.rollouts.probe:
            raise refuse(
                f"train.rollouts.probe: found with {known[0]} among train.rollouts.judge.criteria; "
                "accepted with criteria without a reference: the original may be the better stored "
                "text, and is that reference"
            )
        for number, phase in enumerate(self.train.curriculum):
            key, has_original = f"train.curriculum.{number}", "original" in phase.candidates
            if phase.online and known and has_original:
                raise refuse(
                    f"{key}.candidates: found original; accepted with {known[0]} among "
                    "train.rollouts.judge.criteria, whose reference it is: other texts"
                )
            if phase.online and judge.pools.schedule == "pivot" and not has_original:
                raise refuse(
                    f"{key}.candidates: found {', '.join(phase.candidates)}; accepted with "
                    "train.rollouts.judge.pools.schedule pivot: with original, which all others "
                    "meet"
                )

    @model_validator(mode="after")
    def _apart(self) -> Self:
        refuse_overlap(self.train, self.engines)
        if is_one(self.train.output, self.output):
            raise refuse(
                f"train.output: found '{self.train.output}', where `output` puts the shard set; "
                "accepted: another folder"
            )
        return self


def _named(key: str, name: str) -> Criterion:
    """The criterion that a key names; ConfigError names the key."""
    try:
        return load_criterion(name)
    except ConfigError as error:
        raise ConfigError(str(error).replace("judge.criteria", key, 1)) from None
