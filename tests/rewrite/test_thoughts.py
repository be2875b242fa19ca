"""Thoughts put into a corpus: real runs against a server that answers as told."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from prewrite.prompts.thoughts import segments, strip
from prewrite.shards.reader import ShardSet
from prewrite.shards.schema import Row
from prewrite.shards.verify import verify
from tests.commands import rewrite, shards
from tests.engine.fault_server import Call, Fault, FaultServer
from tests.pipeline.runs import recipe, rows

HARBOUR = (
    "Harbour {n} lies in the north. Its quay was built of oak. In 18{n}0 a storm took nine "
    "ships and the tower of the old customs house. Since then the quay is of stone."
)
TEXTS = {
    **{f"harbour-{n}": HARBOUR.format(n=n) for n in range(3)},
    "own": "Harbour 7 lies here. It writes <think>so</think> itself.",
    "short": "Only one sentence stands in harbour 8",
}
GOOD = "2: Oak is no match for the sea, so one asks what a gale would do."
LEAK = "1: I recall that a storm took nine ships and the tower of the old customs house."
ANSWERS = {0: f"{LEAK}\n{GOOD}\n9: beyond", 1: LEAK, 2: f"Here:\n{GOOD}"}


def number(call: Call) -> int:
    return int(re.findall(r"\[1\] Harbour (\d)", call.text)[0])


def answered(call: Call) -> Fault | None:
    def edit(answer: dict[str, Any]) -> None:
        for choice in answer["choices"]:
            choice["message"]["content"] = ANSWERS[number(call)]

    return Fault(edit=edit)


def mended(call: Call) -> Fault | None:
    def edit(answer: dict[str, Any]) -> None:
        for choice in answer["choices"]:
            choice["message"]["content"] = f"{LEAK}\n{GOOD}"

    return Fault(edit=edit)


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(answered) as running:
        yield running


def written(folder: Path, server: FaultServer, **section: Any) -> Path:
    lines = [json.dumps({"id": name, "text": text}) + "\n" for name, text in TEXTS.items()]
    (folder / "in.jsonl").write_text("".join(lines))
    data = yaml.safe_load(
        recipe(f"{folder}/in.jsonl", f"{folder}/set", server.url, rows_per_part=1)
    )
    data["chunking"]["tokens"] = 128
    data["rewrite"] = {"engine": "main", "template": "think", "form": "thoughts", **section}
    data["run"]["max_failed"] = 0.5
    (folder / "recipe.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    return folder / "recipe.yaml"


@pytest.fixture
def config(tmp_path: Path, server: FaultServer) -> Path:
    return written(tmp_path, server)


def made(folder: Path) -> dict[str, Row]:
    every = rows(
        f"{folder}/set", ("doc_id", "original", "rewrite", "rewrite_status", "rewrite_reason")
    )
    return {row["doc_id"].rpartition("/")[2]: row for row in every}


def test_a_set_with_thoughts_is_its_corpus_without_them(
    config: Path, tmp_path: Path, server: FaultServer
) -> None:
    assert rewrite(["--config", str(config)]) == 0
    assert verify(f"{tmp_path}/set")["problems"] == []
    found = made(tmp_path)
    assert {name: row["original"] for name, row in found.items()} == TEXTS
    assert {
        name: (row["rewrite_status"], row["rewrite_reason"]) for name, row in found.items()
    } == {
        "harbour-0": ("ok", None),
        "harbour-1": ("failed", "thought_leak"),
        "harbour-2": ("ok", None),
        "own": ("unasked", "own_markers"),
        "short": ("unasked", "one_sentence"),
    }
    for row in found.values():
        if row["rewrite"] is not None:
            assert strip(row["rewrite"]) == row["original"]
            assert [one.thought for one in segments(row["rewrite"])] == [GOOD[3:]]
    assert sorted(map(number, server.calls)) == [0, 1, 2]


def test_what_was_left_out_is_counted(config: Path, tmp_path: Path) -> None:
    assert rewrite(["--config", str(config)]) == 0
    (told,) = ShardSet(f"{tmp_path}/set").manifest.passes
    assert told.counts == {
        **{"status:ok": 2, "status:failed": 1, "status:unasked": 2},
        **{"thoughts:kept": 2, "thoughts:dropped: thought_leak": 1},
        **{"thoughts:dropped: thought_place": 1, "thoughts:dropped: thought_form": 1},
    }
    assert (told.asked, told.failed, told.usage.requests) == (3, 1, 3)
    reasons = {why: found.count for why, found in told.failures.items()}
    assert reasons == {"thought_leak": 1, "own_markers": 1, "one_sentence": 1}


def test_a_retry_asks_what_failed_and_keeps_what_was_counted(
    config: Path, tmp_path: Path, server: FaultServer
) -> None:
    assert rewrite(["--config", str(config)]) == 0
    server.calls.clear()
    server.plan = mended
    assert rewrite(["--config", str(config), "--retry-failed"]) == 0
    assert [number(call) for call in server.calls] == [1]
    assert made(tmp_path)["harbour-1"]["rewrite_status"] == "ok"
    (told,) = ShardSet(f"{tmp_path}/set").manifest.passes
    counts = {key: count for key, count in told.counts.items() if key.startswith("thoughts")}
    assert counts == {
        **{"thoughts:kept": 3, "thoughts:dropped: thought_leak": 2},
        **{"thoughts:dropped: thought_place": 1, "thoughts:dropped: thought_form": 1},
    }
    assert (told.asked, told.failed) == (3, 0)
    assert {why: found.count for why, found in told.failures.items()} == {
        "own_markers": 1,
        "one_sentence": 1,
    }
    assert verify(f"{tmp_path}/set")["problems"] == []


def test_commands_over_the_set_show_its_thoughts(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rewrite(["--config", str(config)]) == 0
    capsys.readouterr()
    assert shards(["show", f"{tmp_path}/set"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "thoughts 2 kept" in told and "thoughts 1 dropped: thought_leak" in told
    assert "own_markers" in told and "one_sentence" in told
    assert shards(["report", f"{tmp_path}/set", "--to", f"{tmp_path}/report.html"]) == 0
    page = (tmp_path / "report.html").read_text()
    assert "2 thoughts in 2 rows: 1.0 a row" in page and "1 thought_leak" in page
    assert "<ins> &lt;think&gt; Oak is no match" in page
    assert GOOD[3:].casefold() in page  # that stands in both rows


def test_thoughts_beside_another_rewrite(tmp_path: Path, server: FaultServer) -> None:
    templates = {"think": {"form": "thoughts", "thoughts": {"most": 1}}, "cleanup": None}
    config = written(tmp_path, server, template="cleanup", form="text", templates=templates)
    server.plan = lambda call: answered(call) if "are numbered" in call.text else None
    assert rewrite(["--config", str(config)]) == 0
    shards_ = ShardSet(f"{tmp_path}/set")
    assert verify(shards_.folder.url)["problems"] == []
    statuses = Counter(
        (row["rewrite_status"], row["rewrite_cleanup_status"]) for row in shards_.rows()
    )
    assert statuses == {("ok", "ok"): 2, ("failed", "ok"): 1, ("unasked", "ok"): 2}


def test_what_makes_the_thoughts_belongs_to_the_set(config: Path) -> None:
    assert rewrite(["--config", str(config)]) == 0
    for override in ("rewrite.thoughts.most=3", "rewrite.thoughts.leak=1"):
        assert rewrite(["--config", str(config), override]) == 2


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        (
            {"template": "digest"},
            "rewrite.form: found thoughts with the template digest; accepted with it: text",
        ),
        (
            {"form": "text"},
            "rewrite.form: found text with the template think; accepted with it: thoughts",
        ),
        (
            {"length": {"max": 2}},
            "rewrite.length: found with form: thoughts; accepted with form: text",
        ),
        (
            {"form": "text", "template": "digest", "thoughts": {"most": 2}},
            "rewrite.thoughts: found with form: text; accepted with form: thoughts",
        ),
        (
            {"form": "text", "templates": {"digest": {"thoughts": {"most": 2}}}},
            "rewrite.templates.digest.thoughts: found with form: text; accepted with form: "
            "thoughts",
        ),
    ],
)
def test_keys_that_do_not_go_together_are_refused(
    section: dict[str, Any],
    sentence: str,
    tmp_path: Path,
    server: FaultServer,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert rewrite(["--config", str(written(tmp_path, server, **section))]) == 2
    assert capsys.readouterr().err.strip().endswith(sentence)
