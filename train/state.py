"""What a run needs, beside its tensors, to go on exactly: small, explicit, plain JSON.

The order of samples is a function of the data and the seed, so `samples` is all the state that
reading has. `settings` and `data` are kept to refuse another run's checkpoint with the difference.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict

from prewrite.base.errors import ConfigError
from prewrite.base.fingerprint import differences
from prewrite.train.config.phases import Phase
from prewrite.train.config.sections import TrainConfig
from prewrite.train.tally import LearningTally

FREE = ("output", "parallel", "checkpoint", "non_finite", "alerts", "curriculum")
"""Keys of the configuration that may change between two starts of one run: of `parallel` all but
`distributed_optimizer`, whose checkpoints have a form of their own; of the curriculum the phases
that are not over. So may `batch.sequence_tokens`, which changes no loss."""


FREE_ROLLOUTS = ("dump_every", "sleep", "timeout")
"""Keys of `rollouts` that may."""


class FileDigest(BaseModel):
    """A file, or the beginning of one: its size and the SHA-256 of its bytes."""

    model_config = ConfigDict(extra="forbid", strict=True)

    bytes: int
    sha256: str


class State(BaseModel):
    """The point a run has reached.

    step, samples: done so far. skipped: steps in which the model did not move because the loss or
    the gradient was not finite. empty: those in which it did not because there was nothing to learn
    from. tally: of the phase under way. curriculum: `Curriculum.state_dict`. alerts: the state of
    `train.alerts`. data: `Loader.identity`. base: `base_digest` of the model's folder. log:
    `metrics.jsonl` up to this step, where the process that has the state writes it.
    """

    model_config = ConfigDict(extra="forbid")

    step: int
    samples: int
    skipped: int
    empty: int
    tally: LearningTally
    curriculum: dict[str, Any]
    alerts: list[list[float | None]] = []
    settings: dict[str, Any]
    data: dict[str, Any]
    base: str | None = None
    log: FileDigest | None = None

    def phases(self) -> list[Phase]:
        """The curriculum that the run had by then."""
        return [Phase.model_validate(one) for one in self.settings["curriculum"]]

    def refuse_others(
        self, where: str, config: TrainConfig, data: dict[str, Any], base: str | None, over: int
    ) -> None:
        """ConfigError when this is the state of another run, naming what differs.

        base: None is not compared. over: how many phases have ended, by `config`.
        """
        lines = differences(_with_generations(self.data), data, "data")
        old, new = self.settings, settings(config)
        lines += differences(_fixed(old), _fixed(new), "train")
        if base and self.base and base != self.base:
            lines.append(f"the weights, config.json or tokenizer.json in {config.model.path}")
        ran = len(self.curriculum["starts"])
        for number in range(min(over, ran)):
            before, now = dict(old["curriculum"][number]), dict(new["curriculum"][number])
            if number == ran - 1:  # over by the end that it has now
                before.pop("until"), now.pop("until")
            lines += differences(before, now, f"train.curriculum.{number}")
        if lines:
            raise ConfigError(
                f"{where} was made under another configuration; choose another train.output, or "
                "restore:\n" + "\n".join(f"  {line}" for line in lines)
            )


def settings(config: TrainConfig) -> dict[str, Any]:
    """The configuration as plain JSON values."""
    return config.model_dump(mode="json")


def _with_generations(data: dict[str, Any]) -> dict[str, Any]:
    """A set without one is of the first."""
    return data | {"sets": {url: {"generation": 1, **one} for url, one in data["sets"].items()}}


def _fixed(values: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in values.items() if key not in FREE}
    # What one kind of optimizer has saved, the other does not load.
    split = "distributed_optimizer"
    kept["parallel"] = {split: values["parallel"][split]}
    kept["batch"] = {k: v for k, v in kept["batch"].items() if k != "sequence_tokens"}
    rollouts = values["rollouts"] or {}
    kept["rollouts"] = {k: v for k, v in rollouts.items() if k not in FREE_ROLLOUTS}
    return kept
