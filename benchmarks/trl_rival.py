"""Online DPO by TRL, run by a Python that has it: `python benchmarks/trl_rival.py SETTINGS`.

Prints the seconds of every step as JSON. Imports nothing that needs this project's environment but
the judge, which is the same function. Rollouts come from transformers: TRL's vLLM mode is made for
GPUs.
"""

import json
import sys
import time
from typing import Any

import trl
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl.experimental.online_dpo import OnlineDPOConfig, OnlineDPOTrainer

from prewrite.evaluation.ablation.known_words import share
from prewrite.prompts.text import variety


class Clock(TrainerCallback):  # type: ignore[misc]  # it has no types here
    """Takes the time at the end of every step."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """The first step begins."""
        self.times.append(time.monotonic())

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """A step has been made."""
        self.times.append(time.monotonic())


def judge(completions: list[str], **_: Any) -> list[float]:
    """That of `tiny_policy.JUDGE`; a text that has no score there gets the least."""
    return [_score(text) for text in completions]


def _score(text: str) -> float:
    try:
        return share("", "", text) * variety("", "", text)
    except ValueError:
        return 0.0


def main(settings: dict[str, Any]) -> None:
    """Train on the prompts in their order, one after the other."""
    tokenizer = AutoTokenizer.from_pretrained(settings["model"])
    clock = Clock()
    config = OnlineDPOConfig(
        output_dir=settings["output"],
        per_device_train_batch_size=settings["samples"],
        max_steps=settings["steps"],
        learning_rate=settings["rate"],
        lr_scheduler_type="constant",
        adam_beta2=0.95,
        weight_decay=0.1,
        max_grad_norm=1.0,
        beta=settings["beta"],
        max_new_tokens=settings["tokens"],
        max_length=settings["longest"],
        temperature=1.0,
        top_p=1.0,
        bf16=False,
        use_cpu=True,
        gradient_checkpointing=False,
        train_sampling_strategy="sequential",
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        seed=0,
    )
    trainer = OnlineDPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(settings["model"], dtype="float32"),
        reward_funcs=judge,
        args=config,
        train_dataset=Dataset.from_dict({"prompt": settings["prompts"]}),
        processing_class=tokenizer,
        callbacks=[clock],
    )
    trainer.train()
    seconds = [after - before for before, after in zip(clock.times, clock.times[1:], strict=False)]
    print(json.dumps({"seconds": seconds, "version": trl.__version__}))


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as stream:
        main(json.load(stream))
