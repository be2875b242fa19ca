"""Every kind of file of a training run, damaged in every way, then one step more.

A tiny model is trained for three steps, with a checkpoint of each. What is damaged is the newest
checkpoint, and what the run keeps beside it. The step after must give the weights and the history
of a run that nothing happened to, or a sentence, or a line that names the file or its checkpoint.
"""

import hashlib
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from prewrite.train.config.sections import TrainConfig
from tests.faults import damaged_stores
from tests.faults.apart import results
from tests.faults.damage import Extent, Verdict, copied, others_of
from tests.faults.forks import Ended, forked, make_ready
from tests.train.small import make_model, make_set, settings

STEPS, LIMIT = 3, 120.0
KINDS = {"*.distcp", "state.json", "latest", "metrics.jsonl", "cache index"}
"""The kinds of file that must be found in a run; a checkpoint has others, by their names."""

_FIXED = ("step", "phase", "loss", "grad_norm", "learning_rate", "samples", "tokens")
"""What a line of `metrics.jsonl` says that is the same in each run."""


def _config(base: Path, run: str, steps: int, **changed: Any) -> TrainConfig:
    """`steps` steps of `run`, the rate of each independent of how many there are."""
    phase = {"name": "prefer", "objective": "dpo", "until": {"step": steps}}
    optimizer = {"lr": 1e-2, "schedule": "constant", "warmup_steps": 0}
    checkpoint = {"every": 1, "asynchronous": False, "keep": 2}
    named = {"curriculum": [phase], "optimizer": optimizer, "checkpoint": checkpoint, **changed}
    return TrainConfig.model_validate(settings(base, run, **named))


def _import() -> None:
    """Import what every fork of this process needs."""
    for name in (
        "torch.utils.tensorboard",
        "prewrite.train.reference",
        "prewrite.train.run",
    ):
        import_module(name)
    import_module("transformers.models.llama.modeling_llama")
    import_module("torch").set_num_threads(1)


def _go(config: TrainConfig) -> None:
    """The command, without the texts that each end of a run makes anew."""
    run = import_module("prewrite.train.run")
    writer = import_module("megatron.core.dist_checkpointing.strategies.filesystem_async")
    # Megatron would spawn this process, which would import all of torch first.
    writer._results_queue = get_context("fork").Manager().Queue()  # type: ignore[attr-defined]
    run.continuations = lambda model, prefixes: prefixes  # type: ignore[attr-defined]
    run.run(config)


def _trained(base: Path, run: str, steps: int, **changed: Any) -> Ended:
    """Train, or go on, in a fork."""
    config = _config(base, run, steps, **changed)
    return forked(lambda: _go(config), limit=LIMIT)


def files(output: Path) -> dict[str, list[Path]]:
    """The files of a run that decide how it goes on, by kind; of the checkpoints the newest."""
    found: dict[str, list[Path]] = {}
    for path in sorted(max((output / "checkpoints").glob("step-*")).iterdir()):
        name = f"*{path.suffix}" if path.suffix == ".distcp" else path.name
        found.setdefault(name, []).append(path)
    found["latest"] = [output / "checkpoints/latest"]
    found["metrics.jsonl"] = [output / "metrics.jsonl"]
    found["cache index"] = sorted((output / "cache").iterdir())
    return found


class Matrix:
    """The damage matrix of a run, with `model` and `set`, that is made in `base`."""

    def __init__(self, base: Path, extent: Extent) -> None:
        self.base, self.extent = base, extent
        for run, changed in (("new", {}), ("old", {"seed": 7})):
            _whole(_trained(base, run, STEPS, **changed))
        shutil.copytree(base / "new", base / "case")
        _whole(_trained(base, "case", STEPS + 1))
        self.weights, self.lines = _digest(base / "case"), _history(base / "case")

    def verdicts(self) -> Iterator[Verdict]:
        """All damages to the files of the run, and the step after each."""
        new, old = self.base / "new", files(self.base / "old")
        for name, paths in files(new).items():
            for number, path in enumerate(paths[: self.extent.each]):
                others = others_of(paths, number, old.get(name, []))
                before = path.parents[1] / f"step-{STEPS - 1:08d}" / path.name
                others |= {"that of the checkpoint before": before} if before.exists() else {}
                for damage, data in self.extent.damages(path, others, f"{name} {number}"):
                    found = self._next(path.relative_to(new), data)
                    yield Verdict("run", name, path.name, damage, "one step more", *found)

    def _next(self, place: Path, data: bytes | None) -> tuple[str, str]:
        """One step more, after a file of the run was damaged."""
        case = copied(self.base / "new", place, data, self.base / "case")
        ended = _trained(self.base, "case", STEPS + 1)
        if ended.bug or ended.sentence:
            return ended.failure
        if _digest(case) != self.weights:
            return "silent", "other weights"
        names = {place.name, *(name for name in place.parts if name.startswith("step-"))}
        told = [line for line in ended.text.splitlines() if any(name in line for name in names)]
        if told:
            return "detected", told[0]
        found = _history(case)
        # A line that is made again has other speeds.
        kept = found[: STEPS - 1] == self.lines[: STEPS - 1]
        if kept and [*map(_fixed, found)] == [*map(_fixed, self.lines)]:
            return "harmless", ""
        return "unnoticed", f"{len(found)} lines of metrics, not all as they were"


def _digest(output: Path) -> str:
    return hashlib.sha256((output / "model/model.safetensors").read_bytes()).hexdigest()


def _history(output: Path) -> list[str]:
    return (output / "metrics.jsonl").read_text(errors="replace").splitlines()


def _fixed(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
        return {key: found.get(key) for key in _FIXED}
    except (ValueError, AttributeError):
        return {}


def _whole(ended: Ended) -> None:
    if ended.bug or ended.sentence:
        raise RuntimeError(f"{ended.bug or ended.sentence}\n{ended.text[-2000:]}")


def verdicts(base: Path, extent: Extent) -> list[Verdict]:
    """The damage matrix of a run and of what runs store, made in `base`, in one process."""
    call = [base, extent.each, extent.times, extent.every, *extent.names]
    return [Verdict(**found) for found in results("damaged_runs", call)]


def main(name: str, each: str, times: str, every: str, *names: str) -> None:
    """The process of `verdicts`."""
    _import()
    make_ready()
    base, extent = Path(name), Extent(int(each), int(times), int(every), names)
    make_model(base / "model")
    make_set(base / "set")
    runs = Matrix(base, extent)
    stores = damaged_stores.verdicts(base, _config(base, "new", STEPS), replace(extent, every=1))
    for some in (stores, runs.verdicts()):
        for verdict in some:
            print(json.dumps(asdict(verdict)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
