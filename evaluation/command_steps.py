"""Commands of `prewrite` as steps: each is run once, as a user would, and its words are kept.

A step that is done leaves a file in `done/` with the fingerprint of its recipe and of the steps
before it, so the same command goes on where it stopped, and a step whose recipe is another one is
run again. A step that fails is told in the sentence that its command ended with.
"""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from signal import SIGTERM
from typing import Any

from prewrite.base.cli import console
from prewrite.base.config import Recipe, load
from prewrite.base.fingerprint import fingerprint

_MEASURES = {"output", "engines", "judge", "measure"}
READS = {
    "rewrite": {"input", "output", "chunking", "engines", "rewrite", "judge", "run"},
    "judge": {"output", "engines", "judge", "run"},
    "judge corrupt": _MEASURES | {"run"},
    "judge report": _MEASURES,
    "train": {"engines", "train"},
    "evaluate": {"engines", "evaluate"},
}
"""The commands that may be steps, and the sections of a recipe that each reads."""


class Plain(Recipe):
    """A recipe as it is written, whichever command reads it."""

    input: dict[str, Any] = {}
    chunking: dict[str, Any] = {}
    engines: dict[str, dict[str, Any]] = {}
    rewrite: dict[str, Any] | None = None
    judge: dict[str, Any] | None = None
    measure: dict[str, Any] = {}
    run: dict[str, Any] = {}
    train: dict[str, Any] = {}
    evaluate: dict[str, Any] = {}


@dataclass(frozen=True)
class CommandStep:
    """`prewrite COMMAND --config FILE OVERRIDES`."""

    name: str
    command: str
    config: str
    overrides: Sequence[str]

    @property
    def arguments(self) -> list[str]:
        """What stands behind `prewrite`."""
        return [*self.command.split(), "--config", self.config, *self.overrides]


class Steps:
    """Runs steps; what they say goes to `logs/` under `folder`.

    made: fingerprint of all that is done so far and that later steps depend on.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self.made = folder, ""
        for name in ("logs", "done"):
            (folder / name).mkdir(parents=True, exist_ok=True)

    def run(self, step: CommandStep) -> str | None:
        """Run a step that is not done; the sentence of its failure, if it fails."""
        key, done = self.identity(step), self._folder / f"done/{step.name}.json"
        if done.exists() and json.loads(done.read_text())["fingerprint"] == key:
            return None
        log, begun = self._folder / f"logs/{step.name}.log", time.monotonic()
        console.print(f"{step.name}: prewrite {step.command} …, see {log}", soft_wrap=True)
        code = _run(step, log)
        if code:
            sentence = _last_words(log, code)
            console.print(f"{step.name}: {sentence}", soft_wrap=True)
            return sentence
        console.print(f"{step.name}: done in {time.monotonic() - begun:.0f} s")
        done.write_text(json.dumps({"fingerprint": key}))
        return None

    def identity(self, step: CommandStep) -> str:
        """What a step depends on."""
        recipe = load(Plain, step.config, step.overrides).model_dump(include=READS[step.command])
        return fingerprint([self.made, step.command, recipe])


def _run(step: CommandStep, log: Path) -> int:
    """The exit code of a step. An interruption is handed on, once, and waited for: Ctrl-C in a
    terminal would reach the command by itself, too, and break off what it saves.
    """
    command = [sys.executable, "-m", "prewrite", *step.arguments]
    with log.open("w") as stream:
        process = subprocess.Popen(
            command, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            return process.wait()
        except KeyboardInterrupt:
            process.send_signal(SIGTERM)
            process.wait()
            raise


def _last_words(log: Path, code: int) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    said = errors[0] if errors else (lines or ["it said nothing"])[-1]
    return said if errors else f"ended with {code}: {said}"
