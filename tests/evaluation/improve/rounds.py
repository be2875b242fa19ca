"""Rounds whose commands are not run: models are folders that say how good they are."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from prewrite.base.files import Folder
from prewrite.base.fingerprint import fingerprint
from prewrite.evaluation.command_steps import CommandStep, Steps
from prewrite.evaluation.improve.config import ImproveConfig, ImproveRecipe
from prewrite.evaluation.improve.gate import Evidence
from prewrite.evaluation.improve.ledger import Ledger
from prewrite.evaluation.improve.run import Rounds
from prewrite.evaluation.improve.state import PARTS
from tests.shards.making import row, write_set

DOCUMENTS = 40
TRAIN = {
    "data": [{"set": "data/human", "filter": "share(doc_id) >= 0.0 and share(doc_id) < 1.0"}],
    "output": "runs/x",
    "model": {"path": "models/base"},
    "optimizer": {"warmup_steps": 0},
    "curriculum": [{"name": "learn", "until": {"step": 2}, "objective": [
        {"kind": "nll", "text": "original"}, {"kind": "nll", "text": "rewrite"}]}],
}  # fmt: skip
REPORT = {"judge": {"engine": "e"}, "engines": {"e": {"kind": "vllm", "model": "m"}}}


def model(folder: Path, worth: float, **guards: float) -> str:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"worth": worth, "guards": guards}))
    return str(folder)


def sections(folder: Path, **changed: Any) -> dict[str, Any]:
    """A recipe whose every command is one that a user could write, in `folder`."""
    recipe = folder / "train.yaml"
    if not recipe.exists():
        recipe.write_text(yaml.safe_dump({"output": "data/x", "train": TRAIN} | REPORT))
        for name in ("one", "two"):
            rows = [row(f"{name}-{number}") for number in range(DOCUMENTS)]
            write_set(str(folder / name), [rows])
            model(folder / f"{name}-judge", 1.0 if name == "one" else 2.0)
        for number, name in enumerate(PARTS):
            model(folder / "start" / name, 0.3 + number / 100)
    slices = "'train.data.0.filter=share(doc_id) >= {from} and share(doc_id) < {to}'"
    part = {
        "make": [f"train --config {recipe} train.output={{made}} {slices}"],
        "measure": [
            f"judge report --config {recipe} engines.e.model={{model}} output={{measured}} "
            "measure.report.labels={anchor.texts}"
        ],
    }
    given: dict[str, Any] = {name: part | {"start": str(folder / "start" / name)} for name in PARTS}
    given |= {
        "anchor": {"texts": str(folder / "one"), "judge": str(folder / "one-judge")},
        "last_anchor": {"texts": str(folder / "two"), "judge": str(folder / "two-judge")},
        "rounds": 3,
        "comparisons": 9,
        "gain": 0.5,
        "output": str(folder / "rounds"),
    }
    return given | changed


def recipe(folder: Path, **changed: Any) -> ImproveRecipe:
    return ImproveRecipe.model_validate({"output": "x", "improve": sections(folder, **changed)})


class Written(Steps):
    """Does what a command would: `train` leaves the model that `worth` gives for its folder, a
    measurement what a model is worth. before: called before each.
    """

    def __init__(
        self, folder: Path, worth: Callable[[str], dict[str, float]], before: Callable[[], None]
    ) -> None:
        super().__init__(folder)
        self._worth, self._before = worth, before
        self.ran = list[str]()

    def run(self, step: CommandStep) -> str | None:
        done = self._folder / f"done/{step.name}.json"
        if done.exists():
            return None
        self._before()
        given = dict(one.split("=", 1) for one in step.overrides)
        if step.command == "train":
            made = Path(given["train.output"])
            if not made.exists():
                found = dict(self._worth(f"{made.parent.name}/{made.name}"))
                model(made / "model", found.pop("worth"), **found)
        else:
            known = json.loads(Path(given["engines.e.model"], "config.json").read_text())
            Folder(given["output"]).write("found.json", json.dumps(known).encode())
        self.ran.append(step.name)
        done.write_text(json.dumps({"fingerprint": fingerprint(step.overrides)}))
        return None

    def identity(self, step: CommandStep) -> str:
        return step.name


def found(part: str, folder: str) -> Evidence:
    """Takes the place of `read_evidence`."""
    known = json.loads(Path(folder, "found.json").read_text())
    scores = {f"d{number}": known["worth"] for number in range(DOCUMENTS)}
    return Evidence(scores, {"refusals": 0.0, "p_first": 0.5} | known["guards"])


def rounds(
    config: ImproveConfig,
    worth: Callable[[str], dict[str, float]],
    before: Callable[[], None] = lambda: None,
) -> tuple[Rounds, Ledger, Written]:
    """The rounds of the ledger in the output, from where it stands."""
    ledger = Ledger(Folder(config.output))
    steps = Written(Path(config.output), worth, before)
    return Rounds(config, ledger, steps), ledger, steps
