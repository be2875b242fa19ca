"""Small real runs of `prewrite rewrite` against the echo server, and what they must leave."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from prewrite.base.files import Folder
from prewrite.shards import names
from prewrite.shards.reader import ShardSet
from prewrite.shards.verify import verify

ROOT = Path(__file__).parents[2]
TOKENIZER = str(ROOT / "models/smollm2-135m-instruct")
LISTED_ANYWAY = {names.MANIFEST, names.CARD}


def corpus_lines(file: int, documents: int) -> bytes:
    """One JSONL file of short documents, each unlike every other."""
    lines = []
    for number in range(documents):
        text = f"Document {number} of file {file}. " + f"The fox {number} ran {file} miles. " * 8
        lines.append(json.dumps({"text": text, "meta": {"n": number}}) + "\n")
    return "".join(lines).encode()


def recipe(corpus: str, output: str, endpoint: str, judge: bool = False, **run: Any) -> str:
    """A recipe as YAML."""
    engine = {"kind": "endpoint", "urls": [endpoint], "model": "echo", "concurrency": 4}
    sections: dict[str, Any] = {
        "input": {"paths": [corpus]},
        "output": output,
        "chunking": {"tokenizer": TOKENIZER, "tokens": 48},
        "engines": {"main": engine},
        "rewrite": {"engine": "main", "template": "cleanup"},
        "run": run,
    }
    if judge:
        sections["judge"] = {"engine": "main", "criteria": ["quality", "safety"]}
    return yaml.safe_dump(sections)


def start(config: Path, *overrides: str, scratch: Path) -> "subprocess.Popen[str]":
    """`prewrite rewrite` as a process of its own; its temporary files go to `scratch`."""
    scratch.mkdir(exist_ok=True)
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-m", "prewrite", "rewrite", "--config", str(config), *overrides],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(scratch), "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: "subprocess.Popen[str]", seconds: float = 60) -> tuple[int, str, str]:
    """Exit code, output and errors of a process; killed and failed when it hangs."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"still running after {seconds} s: {out}\n{err}") from None
    return process.returncode, out, err


def rows(url: str, columns: Sequence[str] = ("id", "original", "rewrite")) -> list[dict[str, Any]]:
    """Every row of a set, in order, some columns of it."""
    return list(ShardSet(url).rows(list(columns)))


def assert_whole(url: str) -> None:
    """The set verifies, every row stands in it once, and nothing else lies in its folder."""
    assert verify(url)["problems"] == []
    shards = ShardSet(url)
    ids = [row["id"] for row in shards.rows(["id"])]
    assert ids and len(ids) == len(set(ids))
    manifest = shards.manifest
    listed = {part.file for part in (*shards.parts, *shards.verdicts)}
    listed |= {file.name for file in manifest.log}
    found = {name for name in Folder(url).names() if not name.startswith("_rewrites/")}
    found.discard(names.SPLITS)
    assert found == listed | LISTED_ANYWAY
