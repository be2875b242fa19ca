"""Every shipped template with the quick-start model: that they run, not what they are worth."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from prewrite.shards.reader import ShardSet
from prewrite.shards.schema import STATUSES, USABLE
from prewrite.shards.verify import verify

NAMES = sorted(path.stem for path in Path("prompts/templates").glob("*.jinja"))
TEMPLATES = dict.fromkeys(NAMES) | {"think": {"form": "thoughts"}}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A set of one document, each chunk rewritten by every template, and scored by a function."""
    folder = tmp_path_factory.mktemp("templates")
    config = {
        "base": str(Path("configs/quickstart.yaml").resolve()),
        "input": {"paths": ["configs/sample/*.jsonl"], "limit": 1},
        "output": f"{folder}/set",
        "chunking": {"tokens": 256},
        "rewrite": {"templates": TEMPLATES, "sampling": {"max_tokens": 24}},
        "judge": {"criteria": ["variety"]},
        "run": {"max_failed": 1},
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    command = [sys.executable, "-m", "prewrite", "rewrite", "--config", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    return f"{folder}/set"


@pytest.mark.slow
def test_each_makes_a_rewrite_of_every_row_or_says_why_not(url: str) -> None:
    assert verify(url)["problems"] == []
    shards = ShardSet(url)
    assert shards.manifest.rewrites == NAMES
    for row in shards.rows():
        for text in shards.manifest.texts[1:]:
            status = row[f"{text}_status"]
            assert status in STATUSES
            assert (row[text] is not None) == (status in USABLE)
            assert (row[f"{text}_score"] is not None) <= (row[text] is not None)


@pytest.mark.slow
def test_their_requests_share_the_context(url: str) -> None:
    """Of the prompts most is read from the cache: each document's text is computed once."""
    made = ShardSet(url).manifest.passes[0]
    manifest = ShardSet(url).manifest
    unasked = manifest.statuses.get("rewrite_think: unasked", 0)
    assert made.usage.requests == manifest.rows * len(NAMES) - unasked
    assert made.usage.cached_tokens is not None
    assert made.usage.cached_tokens > made.usage.prompt_tokens / 2
