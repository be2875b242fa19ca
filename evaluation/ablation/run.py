"""`prewrite ablation`: trains every variant of configs/ablations at tiny scale,
evaluates all of them beside their base model, and prints the table.

The commands are those of a user, `rewrite`, `train` and `evaluation`, on the recipes of the paper's
scale with the sizes of `ablation_sizes`. The same command goes on where it stopped. A variant that
fails keeps its row; the command then ends with 1.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from prewrite.base.config import near
from prewrite.base.errors import ConfigError, PrewriteError
from prewrite.base.files import Folder
from prewrite.base.fingerprint import fingerprint
from prewrite.evaluation.ablation import sizes
from prewrite.evaluation.ablation import table as tables
from prewrite.evaluation.ablation.tiny import documents, write_corpus, write_start
from prewrite.evaluation.command_steps import CommandStep, Steps

_NOTE = (
    "Tiny scale: a policy of four layers, a few documents, SmolLM2-135M as the judge of the "
    "evaluation, at chance. It shows that the machinery works, and nothing about the variants."
)
_LONGEST = 600  # characters of a document, so that a few long ones make many


def ablate(
    output: str, only: str | None = None, overrides: Sequence[str] = (), table: bool = False
) -> None:
    """Run what has not been done, or with `table` nothing; print and write the table of what lies
    in the folder. ConfigError outside of a checkout. `only`: names of variants with commas, by
    default all.
    """
    if not sizes.FOLDER.is_dir():
        raise ConfigError(f"found no {sizes.FOLDER} here; accepted: a checkout of Prewrite")
    names, folder = _chosen(only), Path(output)
    if table and not folder.is_dir():
        raise ConfigError(f"--output: found no folder {output}; accepted with --table: one that is")
    failed = {} if table else _run(folder, names, overrides)
    collected = tables.collect(folder, ["base", *names], failed)
    tiny = (folder / "done").exists()  # no other scale leaves it
    page = tables.markdown(collected, _NOTE if tiny else "")
    written = Folder(output)
    written.write("table.json", (json.dumps(collected, indent=1) + "\n").encode())
    written.write("table.md", page.encode())
    print(page, end="")
    if failed:
        raise PrewriteError(f"failed: {', '.join(failed)}; the same command tries again")


def _chosen(only: str | None) -> list[str]:
    known = sizes.variants()
    chosen = only.split(",") if only else known
    for name in chosen:
        if name not in known:
            accepted = ", ".join(known)
            raise ConfigError(f"--only: found '{name}';{near(name, known)} accepted: {accepted}")
    return [name for name in known if name in chosen]


def _run(folder: Path, names: Sequence[str], overrides: Sequence[str]) -> dict[str, str]:
    """Everything that has not been done; what failed, with its sentence."""
    steps = Steps(folder)
    _prepare(steps, folder)
    trained = [_variant(folder, name, overrides) for name in names]
    failed = {step.name: said for step in trained if (said := steps.run(step))}
    done = [step for step in trained if step.name not in failed]
    steps.made = fingerprint([steps.identity(step) for step in done])
    changes = sizes.overrides(sizes.evaluating(folder, [step.name for step in done]))
    said = steps.run(CommandStep("evaluation", "evaluate", sizes.EVALUATION, changes))
    return failed | ({"evaluation": said} if said else {})


def _variant(folder: Path, name: str, overrides: Sequence[str]) -> CommandStep:
    changes = [*sizes.overrides(sizes.training(folder, name)), *overrides]
    return CommandStep(name, "train", str(sizes.FOLDER / f"{name}.yaml"), changes)


def _prepare(steps: Steps, folder: Path) -> None:
    """The scored set, the held-out set, and the base model; PrewriteError where one fails."""
    texts = documents()
    for part in texts:
        if (folder / f"{part}.jsonl").exists() and not (folder / "start").exists():
            raise ConfigError(
                f"--output: found {folder / part}.jsonl, which no ablation has written; accepted: "
                "another folder"
            )
    if not (folder / "start/config.json").exists():
        write_start(folder / "start", [text for text, _ in texts["train"]])
    for part, found in texts.items():
        pieces = [(piece, source) for text, source in found for piece in _pieces(text)]
        write_corpus(folder / f"{part}.jsonl", pieces)
    recipe = str(sizes.FOLDER / f"{sizes.BASE}.yaml")
    prepared = [
        CommandStep(
            "set", "rewrite", sizes.SHARED, sizes.overrides(sizes.rewriting(folder, "train"))
        ),
        CommandStep(
            "held", "rewrite", sizes.SHARED, sizes.overrides(sizes.rewriting(folder, "held"))
        ),
        CommandStep("base", "train", recipe, sizes.overrides(sizes.base(folder))),
    ]
    for step in prepared:
        if said := steps.run(step):
            raise PrewriteError(f"{step.name}: {said}")
    steps.made = fingerprint([steps.identity(step) for step in prepared])


def _pieces(text: str) -> list[str]:
    """A document as several, cut at white space; joined they are the document."""
    found = []
    while len(text) > _LONGEST:
        at = text.rfind(" ", 1, _LONGEST)
        at = at if at > 0 else _LONGEST
        found.append(text[:at])
        text = text[at:]
    return [*found, text]
