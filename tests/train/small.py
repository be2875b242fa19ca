"""A small real run: a tiny llama with the quick-start tokenizer, a scored set, and its command.

`Command` runs `train.__main__.main` in forks, see `tests.train.launch`.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL
from typing import Any

import numpy as np
import yaml

from prewrite.shards.manifest import PassInfo
from tests.listening import listening
from tests.shards.making import write_set
from tests.train.launch import FORKS, begin, free_ports, torchrun

ROOT = Path(__file__).parents[2]
QUICKSTART = ROOT / "models/smollm2-135m-instruct"
_SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "tie_word_embeddings": True,
    "initializer_range": 0.15,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_WORDS = ["the", "fox", "runs", "over", "seven", "quiet", "hills", "and", "river", "sings", "rain"]


def make_model(folder: Path, poisoned: str | None = None, **changed: Any) -> None:
    """A tiny random llama with the quick-start tokenizer; `poisoned` is embedded as NaN."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(0)
    config = AutoConfig.for_model("llama", vocab_size=49152, **(_SHAPE | changed))
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(QUICKSTART)
    if poisoned:
        embedding = model.get_input_embeddings().weight.data
        embedding[tokenizer(poisoned, add_special_tokens=False).input_ids[0]] = torch.nan
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


Edit = Callable[[dict[str, Any]], Mapping[str, Any]]
"""A row → what of it is otherwise."""


def make_set(
    folder: Path,
    seed: int = 0,
    scored: bool = True,
    rare: str = "",
    bare: bool = False,
    edit: Edit = lambda row: {},
) -> None:
    """Two parts of 12 documents with 1 to 6 chunks of some 12 tokens; rewrites of all kinds.

    One chunk begins with `rare`. bare: without rewrites and scores, as `rewrite: null` makes it.
    """
    random = np.random.default_rng(seed)
    criteria = ["quality"] if scored and not bare else []
    parts = []
    for number in range(2):
        rows = [row for n in range(12) for row in _document(random, f"{seed}-{number}-{n}")]
        rows[0]["original"] = (rare if number else "") + rows[0]["original"]
        rows = [{**row, **edit(row)} for row in rows]
        rows = [row if scored else _unscored(row) for row in rows]
        parts.append([_only_cut(row) for row in rows] if bare else rows)
    made = PassInfo(name="rewrite", fingerprint="", config={"chunking": {"tokens": 16}})
    kinds: dict[str, Any] = {"rewrites": None} if bare else {}
    write_set(str(folder), parts, criteria=criteria, passes=[made], **kinds)


def _document(random: np.random.Generator, doc: str) -> list[dict[str, Any]]:
    chunks = int(random.integers(1, 7))
    return [_row(random, doc, number, chunks) for number in range(chunks)]


def _row(random: np.random.Generator, doc: str, chunk: int, chunks: int) -> dict[str, Any]:
    original = _text(random)
    status = ["ok", "ok", "ok", "truncated", "copied", "refused"][random.integers(6)]
    rewrite = {"copied": original, "refused": None}.get(status, _text(random))
    scores = {f"original_{name}": float(random.random()) for name in ("quality", "score")}
    scored = rewrite is not None
    scores |= {f"rewrite_{name}": float(random.random()) for name in ("quality", "score") if scored}
    return {
        "id": f"{doc}-{chunk}",
        "doc_id": doc,
        "source": "even" if chunk % 2 == 0 else "odd",
        "chunk": chunk,
        "chunks": chunks,
        "original": original,
        "original_tokens": 12,
        "rewrite": rewrite,
        "rewrite_status": status,
        "meta": "{}",
        **scores,
    }


def _text(random: np.random.Generator) -> str:
    return "".join(f" {word}" for word in random.choice(_WORDS, int(random.integers(8, 13))))


def _unscored(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if not key.endswith(("_quality", "_score"))}


def _only_cut(row: dict[str, Any]) -> dict[str, Any]:
    gone = ("rewrite", "original_quality", "original_score")
    kept = {name: value for name, value in row.items() if not name.startswith(gone)}
    return kept | {"rewrite_status": "none" if row["chunk"] else "skipped"}


def settings(folder: Path, output: str = "run", **changed: Any) -> dict[str, Any]:
    """The section `train` for `folder / "model"` and `folder / "set"`: eight steps, two phases."""
    return {
        "data": [{"set": str(folder / "set")}],
        "output": str(folder / output),
        "model": {"path": str(folder / "model")},
        "batch": {"samples": 4, "sequence_tokens": 128, "max_seq_len": 64, "context_tokens": 16},
        "optimizer": {"lr": 1e-2, "min_lr": 1e-3, "warmup_steps": 2},
        "curriculum": [
            {"name": "imitate", "objective": "nll", "until": {"step": 4}},
            {
                "name": "prefer",
                "objective": ["dpo", {"kind": "rf_nll", "weight": 0.5}],
                "until": {"step": 8},
            },
        ],
        "checkpoint": {"every": 2, "asynchronous": False},
        **changed,
    }


class Command:
    """`prewrite train WORDS --config …` with the section `train`, in one process or several ranks.

    Several are told of each other as torchrun does it. What all of them print is in `text`.
    """

    def __init__(
        self,
        train: dict[str, Any],
        *words: str,
        ranks: int = 1,
        engines: dict[str, Any] | None = None,
        port: str = "",
    ) -> None:
        self.output = Path(train["output"])
        self.output.parent.mkdir(exist_ok=True)
        base = self.output.with_name(f"{self.output.name}-{time.monotonic_ns()}")
        recipe = base.with_suffix(".yaml")
        sections = {"output": "unused", "train": train, "engines": engines or {}}
        recipe.write_text(yaml.safe_dump(sections))
        self._said = base.with_suffix(".log")
        port = port or free_ports(1)[0]
        self.ranks = []
        for rank in range(ranks):
            env = torchrun(rank, ranks, port) if ranks > 1 else {}
            arguments = [*words, "--config", str(recipe)]
            given = (arguments, env, self._said, bool(engines))
            self.ranks.append(FORKS.Process(target=_main, args=given))
            self.ranks[-1].start()

    def signal(self, number: int) -> None:
        """Send all processes a signal; a kill takes those that they have started along."""
        for process in self.ranks:
            assert process.pid
            with suppress(ProcessLookupError):
                (os.killpg if number == SIGKILL else os.kill)(process.pid, number)

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition; AssertionError when the processes end before it holds."""
        while not condition():
            assert all(process.is_alive() for process in self.ranks), self.text
            time.sleep(0.001)

    def end(self, seconds: float = 100) -> int:
        """The highest exit code (a signal's is negative); killed and failed when one hangs."""
        limit = time.monotonic() + seconds
        for process in self.ranks:
            process.join(max(0.0, limit - time.monotonic()))
        late = [rank for rank, process in enumerate(self.ranks) if process.is_alive()]
        self.signal(SIGKILL)
        assert not late, f"ranks {late} still run after {seconds} s: {self.text}"
        return max(process.exitcode or 0 for process in self.ranks)

    def listening(self) -> set[str]:
        """The addresses on which its processes, and all that they have started, listen."""
        return listening(process.pid for process in self.ranks if process.pid)

    @property
    def text(self) -> str:
        """Standard output and standard error of all ranks."""
        return self._said.read_text(errors="replace") if self._said.exists() else ""


def _main(arguments: list[str], env: dict[str, str], said: Path, samples: bool = False) -> None:
    os.setpgrp()
    if samples:  # forked before there are threads
        from prewrite.train.online import client
        from tests.train.waiting import Waiting

        client.start = Waiting().start
    begin(env, said)
    from tests.commands import train as main

    sys.exit(main(arguments))


def done(train: dict[str, Any], ranks: int = 1) -> Path:
    """The output of a run that went well to its end."""
    command = Command(train, ranks=ranks)
    assert command.end() == 0, command.text
    return command.output


def metrics(output: Path) -> list[dict[str, Any]]:
    """Every whole line of `metrics.jsonl`."""
    if not (output / "metrics.jsonl").exists():
        return []
    lines = (output / "metrics.jsonl").read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def newest(output: Path) -> int:
    """The step of the newest whole checkpoint, 0 when there is none."""
    latest = output / "checkpoints/latest"
    return int(latest.read_text().split("-")[1]) if latest.exists() else 0


def curve(output: Path) -> list[float]:
    """The loss of every step."""
    return [step["loss"] for step in metrics(output) if step["step"]]


def weights(output: Path) -> dict[str, Any]:
    """The exported weights."""
    from safetensors.torch import load_file

    found: dict[str, Any] = load_file(output / "model/model.safetensors")
    return found
