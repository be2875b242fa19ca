"""Three rounds of improvement at toy scale: `prewrite improve` on a recipe of real commands.

The world is that of `words`. The judge learns which of two texts has no rude words; the rewriter to
copy what is safe and to mend what is not, by this judge and by closeness to the original; the
policy continues documents in which rude words stand, half of them as they are, half rewritten.

The anchor is what is known by making: pairs with labels, and two functions (`decent`, `tidy`).
Nothing is trained on its texts; the functions' file is an anchor, too, so a change there ends it.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.prove import words
from benchmarks.prove.policy import write_start
from benchmarks.prove.runs import (
    HERE,
    JUDGE,
    POLITER,
    engine,
    judge_section,
    next_token_section,
    rewriter_section,
    train,
    warm_section,
    write,
)
from benchmarks.prove.warm import warm as warm_start
from prewrite.base.files import Folder
from prewrite.evaluation.improve.ledger import Compared, Last, Ledger
from prewrite.shards.schema import Row

ROWS, HELD, ROUNDS, GAIN = 6144, 400, 3, 0.15
WARM, STEPS = 600, 60
"""Steps that make the three models of the start, and steps of each candidate."""

CHUNK = 8
"""Words of a chunk of a document; a document has four."""

SHARE = "share(doc_id) >= {from} and share(doc_id) < {to}"


def prove(folder: Path, steps: int = STEPS, warm: int = WARM) -> dict[str, Any]:
    """Prepare `folder` and run the rounds there; what the ledger says of them."""
    if not (folder / "improve.yaml").exists():
        prepare(folder, steps, warm)
    command = [sys.executable, "-m", "prewrite", "improve", "--config", f"{folder}/improve.yaml"]
    subprocess.run(command, check=True)
    entries = Ledger(Folder(str(folder / "rounds"))).entries
    return {
        "rounds": [
            {"round": one.round, "decision": one.decision, "reasons": one.reasons} | _figures(one)
            for one in entries
            if isinstance(one, Compared)
        ],
        "last": [_figures(one) for one in entries if isinstance(one, Last)],
        "steps": steps,
        "warm": warm,
        "rows": HELD,
    }


def _figures(one: Compared | Last) -> dict[str, Any]:
    names = ("incumbent", "candidate", "gain", "low", "high", "outcome")
    return {"part": one.part} | {name: getattr(one.figures, name) for name in names}


def prepare(folder: Path, steps: int, warm: int) -> None:
    """Texts, anchors, the three models of the start, and the recipes."""
    template = (HERE / "words.jinja").read_text(encoding="utf-8").replace("{{ fence }}", "")
    write_start(folder / "start", [*words.texts(), template, *_verdicts()])
    write(folder / "pairs", pairs("train", 11, ROWS), "politer", rewritten=True)
    write(folder / "texts", words.rows(12, ROWS, every=3), "safety", rewritten=False)
    write(folder / "sloppy", words.sloppy(words.rows(13, ROWS), 14), "safety", rewritten=True)
    write(folder / "raw", documents("raw", 15, ROWS // 4), None, rewritten=False)
    _write_corpus(folder / "corpus.jsonl", documents("corpus", 16, ROWS // 4))
    for number, name in enumerate(("anchor", "last")):
        seed = 20 + 3 * number
        write(folder / f"{name}-pairs", pairs(name, seed, HELD), "politer", rewritten=True)
        _write_corpus(folder / f"{name}-texts.jsonl", words.rows(seed + 1, HELD, every=2))
        write(folder / f"{name}-held", documents(name, seed + 2, HELD), None, rewritten=False)
    warm_start(folder / "start", folder / "judge-0", pairs("warm", 17, ROWS), 0, warm, POLITER)
    train(folder, warm_section(folder, "rewriter-0", 0, warm))
    train(folder, next_token_section(folder, "policy-0", "start", "raw", warm))
    for name, sections in _recipes(folder, steps).items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(sections), encoding="utf-8")


def pairs(name: str, seed: int, count: int) -> list[Row]:
    """Rows of a set whose scores are known: of each two texts one has a rude word, the original in
    one half of them and the rewrite in the other.
    """
    draw, found = np.random.default_rng(seed), []
    for number, row in enumerate(words.rows(seed, count, every=count + 1)):
        safe = words.clean(row["original"]).split()
        rude = [*safe]
        for at in draw.permutation(len(safe))[: draw.integers(1, 3)].tolist():
            rude[at] = str(draw.choice(words.RUDE))
        texts = [" " + " ".join(one) for one in (safe, rude)]
        better = number % 2 == 0
        row |= {"id": f"{name}-{number}", "doc_id": f"{name}-{number}", "rewrite_status": "ok"}
        row |= {"original": texts[not better], "rewrite": texts[better]}
        row |= {"original_politer": float(better), "rewrite_politer": float(not better)}
        row.pop("original_safety")
        found.append(row)
    return found


def documents(name: str, seed: int, count: int) -> list[Row]:
    """Documents of four chunks without rewrites, every second chunk with rude words."""
    draw, found = np.random.default_rng(seed), []
    for number in range(count):
        for chunk in range(4):
            some = draw.choice(words.WORDS, CHUNK).tolist()
            for at in draw.permutation(CHUNK)[: 2 * (draw.random() < 0.5)].tolist():
                some[at] = str(draw.choice(words.RUDE))
            text = " ".join(some)
            found.append(
                {
                    "id": f"{name}-{number}-{chunk}",
                    "doc_id": f"{name}-{number}",
                    "source": "made",
                    "chunk": chunk,
                    "chunks": 4,
                    "original": f" {text}" if chunk else text,
                    "original_tokens": CHUNK,
                    "rewrite_status": "none",
                    "meta": "{}",
                }
            )
    return found


def _write_corpus(file: Path, rows: Sequence[Row]) -> None:
    """The documents of rows as JSON lines."""
    texts: dict[str, str] = {}
    for row in rows:
        texts[row["doc_id"]] = texts.get(row["doc_id"], "") + row["original"]
    lines = [json.dumps({"id": name, "text": text}) + "\n" for name, text in texts.items()]
    file.write_text("".join(lines), encoding="utf-8")


def _verdicts() -> list[str]:
    """Texts that hold every tag and verdict."""
    tagged = [f"<a> {word}</a>\n<b> {word}</b>\n" for word in (*words.WORDS, *words.RUDE)]
    return [*tagged * 9, *["<a> Verdict: (1)", "Verdict: (2)", "Verdict: (1)\nVerdict: (2)"] * 9]


def _recipes(folder: Path, steps: int) -> dict[str, dict[str, Any]]:
    """What the commands of the rounds read, and the rounds."""
    asked = {"votes": 1, "temperature": 1, "top_p": 1, "max_tokens": 8, "reasks": 0}
    by_judge = {
        "engine": "judge",
        "criteria": [POLITER],
        "readout": "reasoning",
        "sampling": asked,
        "pools": {"schedule": "pivot", "order": "both"},
    }
    judge = judge_section(folder, "j", 0, "judge-0", "pairs", steps, POLITER)
    rewriter = rewriter_section(folder, "r", 0, "rewriter-0/model", "texts", steps)
    criteria = [POLITER, str(HERE / "tidy.yaml")]
    rewriter["rollouts"]["judge"] = by_judge | {"criteria": criteria, "combine": "mean"}
    policy = next_token_section(
        folder, "p", "policy-0/model", "raw", steps, ("original", "rewrite")
    )
    measured = {"judge": by_judge, "measure": {"report": {"rows": HELD, "canaries": False}}}
    return {
        "judge": _recipe(folder, "judge-0", train=judge),
        "rewriter": _recipe(folder, "rewriter-0/model", train=rewriter),
        "policy": _recipe(folder, "policy-0/model", train=policy),
        "measure": _recipe(folder, "judge-0", **measured),
        "texts": _recipe(folder, "rewriter-0/model", **_rewriting(folder)),
        "held": _recipe(folder, "policy-0/model", evaluate=_evaluation(folder)),
        "improve": {"output": str(folder / "unused"), "improve": _rounds(folder)},
    }


def _recipe(folder: Path, model: str, **sections: Any) -> dict[str, Any]:
    engines = {
        "policy": engine(folder / model),
        "judge": engine(folder / "judge-0"),
    }
    return {"output": str(folder / "unused"), "engines": engines, **sections}


def _rewriting(folder: Path) -> dict[str, Any]:
    return {
        "input": {"paths": [str(folder / "corpus.jsonl")]},
        "chunking": {"tokenizer": str(folder / "start"), "tokens": 16, "max_context_tokens": 1},
        "rewrite": {
            "engine": "policy",
            "template": str(HERE / "words.jinja"),
            "sampling": {"temperature": 1, "top_p": 1, "max_tokens": 16},
        },
        "judge": JUDGE,
        "run": {"max_failed": 1},
    }


def _evaluation(folder: Path) -> dict[str, Any]:
    model = str(folder / "policy-0/model")
    return {
        "models": {"base": model, "measured": model},
        "base": "base",
        "engine": "policy",
        "judge": {"engine": "policy", "criteria": [str(HERE / "decent.yaml")]},
        "prefixes": {"held": {"set": str(folder / "anchor-held"), "cut_points": 2 * HELD}},
        "tokens": CHUNK,
        "context_tokens": 40,
        "output": str(folder / "evaluation"),
    }


def _rounds(folder: Path) -> dict[str, Any]:
    """The section `improve`."""
    anchors = {name: _anchor(folder, name) for name in ("anchor", "last")}
    return {
        "judge": _judge(folder),
        "rewriter": _rewriter(folder),
        "policy": _policy(folder),
        "anchor": anchors["anchor"],
        "last_anchor": anchors["last"],
        "rounds": ROUNDS,
        "comparisons": 3 * ROUNDS,
        "gain": GAIN,
        "output": str(folder / "rounds"),
    }


def _anchor(folder: Path, name: str) -> dict[str, str]:
    return {
        "pairs": str(folder / f"{name}-pairs"),
        "texts": str(folder / f"{name}-texts.jsonl"),
        "held": str(folder / f"{name}-held"),
        "functions": str(HERE / "words.py"),
    }


def _training(folder: Path, name: str, rest: str) -> str:
    return f"train --config {folder}/{name}.yaml train.output={{made}} {rest}"


def _judge(folder: Path) -> dict[str, Any]:
    models = "train.model.path={judge} engines.policy.model={judge}"
    return {
        "start": str(folder / "judge-0"),
        "make": [_training(folder, "judge", f"{models} 'train.data.0.filter={SHARE}'")],
        "measure": [
            f"judge report --config {folder}/measure.yaml engines.judge.model={{model}} "
            "measure.report.labels={anchor.pairs} output={measured}"
        ],
    }


def _rewriter(folder: Path) -> dict[str, Any]:
    models = "train.model.path={rewriter} engines.policy.model={rewriter}"
    labelled = "original_safety == 0 or original_safety == 1"
    rest = f"{models} engines.judge.model={{judge}} 'train.data.0.filter=({labelled}) and {SHARE}'"
    return {
        "start": str(folder / "rewriter-0/model"),
        "make": [_training(folder, "rewriter", rest)],
        "measure": [
            f"rewrite --config {folder}/texts.yaml engines.policy.model={{model}} "
            "'input.paths=[{anchor.texts}]' output={measured}"
        ],
    }


def _policy(folder: Path) -> dict[str, Any]:
    return {
        "start": str(folder / "policy-0/model"),
        "make": [
            f"rewrite --config {folder}/texts.yaml engines.policy.model={{rewriter}} "
            f"'input.share=[{{from}}, {{to}}]' chunking.tokens={CHUNK} output={{round}}/set",
            _training(folder, "policy", "'train.data={sets}'"),
        ],
        "measure": [
            f"evaluate --config {folder}/held.yaml evaluate.models.measured={{model}} "
            "evaluate.prefixes.held.set={anchor.held} evaluate.output={measured} "
            "evaluate.leaderboard={measured}/leaderboard.jsonl"
        ],
    }
