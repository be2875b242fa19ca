"""What `--dry-run` promises is what a run does."""

import re
from pathlib import Path

import torch
import yaml
from pytest import CaptureFixture, MonkeyPatch
from transformers import AutoModelForCausalLM

from prewrite.train.config.sections import TrainConfig
from prewrite.train.plan import plan
from tests.commands import train as main
from tests.train.small import Command, metrics, settings


def test_numbers_are_those_of_the_run(
    whole: Command, small: Path, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.delattr(torch.distributed, "init_process_group")  # a plan starts no process group
    text = plan(TrainConfig.model_validate(settings(small)))
    model = AutoModelForCausalLM.from_pretrained(small / "model")
    assert f"llama, {model.num_parameters():,} parameters" in text
    steps = metrics(whole.output)
    for name, span, some in (("imitate", "1 to 4", steps[:4]), ("prefer", "5 to 8", steps[4:])):
        tokens = sum(step["tokens"] for step in some)
        assert f"{name}: steps {span}, about {tokens:,.0f} tokens, {tokens / 4:,.0f} a step" in text
    assert f"data     {small / 'set'}: 32 samples an epoch" in text


def test_of_a_huge_batch_a_part_is_measured(small: Path) -> None:
    """The whole set is read some thousand times in such a step."""
    batch = settings(small)["batch"] | {"samples": 1 << 20}
    text = plan(TrainConfig.model_validate(settings(small, batch=batch)))
    (tokens,) = re.findall(r"imitate: .* ([\d,]+) a step", text)
    epoch = settings(small)["batch"] | {"samples": 32}
    text = plan(TrainConfig.model_validate(settings(small, batch=epoch)))
    (of_epoch,) = re.findall(r"imitate: .* ([\d,]+) a step", text)
    ratio = int(tokens.replace(",", "")) / int(of_epoch.replace(",", ""))
    assert abs(ratio / ((1 << 20) / 32) - 1) < 0.05


def test_the_command_prints_recipe_and_plan(
    small: Path, tmp_path: Path, capsys: CaptureFixture[str]
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"output": "unused", "train": settings(small)}))
    assert main(["--config", str(recipe), "--dry-run", "train.seed=5"]) == 0
    told = capsys.readouterr()
    printed, _, planned = told.out.partition("\nmodel    ")
    assert yaml.safe_load(printed)["train"]["seed"] == 5
    assert planned.startswith("llama, ") and told.err == ""
