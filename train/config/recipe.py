"""The recipe of `prewrite train`, and which engines, criteria and places fit together in it."""

from typing import Self

from pydantic import model_validator

from prewrite.base.config import Recipe, refuse
from prewrite.engine.config import EngineConfig, VllmConfig
from prewrite.judge.config import JudgeConfig, known_criteria, known_engine, known_judges
from prewrite.judge.criteria import load_criterion
from prewrite.train.config.inputs import refuse_overlap
from prewrite.train.config.sections import TrainConfig, is_one


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
        if rollouts.judge:
            known_judges("train.rollouts.judge.engine", rollouts.judge, self.engines)
            known_criteria(rollouts.judge)
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

    def _pools_fit(self, judge: JudgeConfig) -> None:
        """Refuse the original as a candidate where it is the reference, and pools without it where
        it is the pivot.
        """
        criteria = [load_criterion(name) for name in judge.criteria]
        known = [criterion.name for criterion in criteria if criterion.has_reference]
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
