"""Commands run again on a finished set: a real endpoint counts what is asked once more."""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from prewrite.shards import names
from prewrite.shards.manifest import Manifest
from prewrite.shards.parts import files_of
from prewrite.shards.reader import ShardSet
from prewrite.shards.repair import repair
from prewrite.shards.verify import verify
from tests.commands import judge
from tests.commands import rewrite as rewrite_command
from tests.engine.fault_server import Fault, FaultServer
from tests.pipeline.runs import corpus_lines, recipe
from tests.shards.edits import flip

DOCUMENTS = 5


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


@pytest.fixture
def config(tmp_path: Path, server: FaultServer) -> Path:
    """The recipe of a set that is complete; the server has forgotten what it was asked."""
    (tmp_path / "in.jsonl").write_bytes(corpus_lines(0, DOCUMENTS))
    path = tmp_path / "recipe.yaml"
    text = recipe(f"{tmp_path}/in.jsonl", f"{tmp_path}/set", server.url, judge=True)
    path.write_text(text)
    assert rewrite(path) == 0
    server.calls.clear()
    return path


def rewrite(path: Path, *overrides: str) -> int:
    arguments = ["--config", str(path), *overrides]
    return rewrite_command(arguments)


def asked(server: FaultServer) -> Counter[str]:
    """What was asked since the last look: rewrites, and verdicts by the words of their prompt."""
    words = {"safety": "safe to learn from", "factuality": "hallucination"}
    found: Counter[str] = Counter()
    for call in server.calls:
        names = [name for name, mark in words.items() if mark in call.text]
        verdict = names[0] if names else "quality"
        found["rewrite" if call.body["max_tokens"] > 1 else verdict] += 1
    server.calls.clear()
    return found


def rows(path: Path) -> int:
    return ShardSet(str(path)).manifest.rows


def test_nothing_changed_asks_nothing(
    config: Path, server: FaultServer, capsys: pytest.CaptureFixture[str]
) -> None:
    for overrides in ([], ["run.rows_per_part=3", "engines.main.concurrency=2"]):
        assert rewrite(config, *overrides) == 0
        assert "the set is complete; nothing to do" in capsys.readouterr().out
    assert not asked(server)


def test_another_judge_keeps_rewrites_and_says_how(
    config: Path, server: FaultServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The refusal names a command; that command, run as it says, asks only what is new."""
    change = "judge.criteria=[quality, safety, factuality]"
    before = ShardSet(f"{tmp_path}/set").manifest
    assert rewrite(config, change) == 2
    errors = capsys.readouterr().err
    assert f"run prewrite judge with judge.input={tmp_path}/set and another output" in errors
    assert "judge.criteria" in errors and not asked(server)
    assert ShardSet(f"{tmp_path}/set").manifest == before

    more = f"{tmp_path}/more"
    again = ["--config", str(config), f"judge.input={tmp_path}/set", f"output={more}"]
    assert judge([*again, change]) == 0
    found = asked(server)
    assert set(found) == {"factuality"} and found["factuality"] >= rows(tmp_path / "set")
    assert verify(more)["problems"] == []
    texts = ["id", "original", "rewrite", "original_quality", "rewrite_safety"]
    old, new = (list(ShardSet(url).rows(texts)) for url in (f"{tmp_path}/set", more))
    assert old == new
    assert judge([*again, change]) == 0
    assert "nothing to do" in capsys.readouterr().out and not asked(server)


@pytest.mark.parametrize(
    "change",
    [
        ["judge.weights.safety=2"],
        ["judge.combine=mean"],
        ["judge.criteria=[safety]"],
        ["judge.sampling.votes=2"],  # no answer is sampled
    ],
)
def test_what_no_verdict_depends_on_asks_nothing(
    config: Path, server: FaultServer, tmp_path: Path, change: list[str]
) -> None:
    assert rewrite(config, *change) == 2
    again = ["--config", str(config), f"judge.input={tmp_path}/set", f"output={tmp_path}/again"]
    assert judge([*again, *change]) == 0
    assert not asked(server)
    assert verify(f"{tmp_path}/again")["problems"] == []


def test_pools_are_of_pairs_only(config: Path, server: FaultServer, tmp_path: Path) -> None:
    again = ["--config", str(config), f"judge.input={tmp_path}/set", f"output={tmp_path}/again"]
    assert judge([*again, "judge.pools.order=random"]) == 0
    assert set(asked(server)) == {"quality"}


def test_a_criterion_is_replaced_alone(config: Path, server: FaultServer, tmp_path: Path) -> None:
    """A template of one's own under the same name takes the column over."""
    mine = tmp_path / "safety.yaml"
    mine.write_text(json.dumps({"base": "safety", "name": "safety", "version": 2, "rules": "All."}))
    again = ["--config", str(config), f"judge.input={tmp_path}/set", f"output={tmp_path}/again"]
    assert judge([*again, f"judge.criteria=[quality, {mine}]"]) == 0
    assert set(asked(server)) == {"safety"}
    assert ShardSet(f"{tmp_path}/again").manifest.criteria == ["quality", "safety"]


def test_another_template_is_another_set(
    config: Path, server: FaultServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rewrite(config, "rewrite.template=safety") == 2
    errors = capsys.readouterr().err
    assert "other rewrites need another output, or restore:" in errors
    assert "rewrite.template" in errors and "judge.input" not in errors
    assert not asked(server)
    assert rewrite(config, "rewrite.template=safety", f"output={tmp_path}/other") == 0
    assert asked(server)["rewrite"] == rows(tmp_path / "set")


def test_a_judge_that_was_stopped_can_be_changed(
    config: Path, server: FaultServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its half-made set is no input; the rewrites are."""
    folder = ShardSet(f"{tmp_path}/set")
    folder.manifest.model_copy(update={"status": "interrupted"}).save(folder.folder)
    assert rewrite(config, "judge.criteria=[safety]") == 2
    assert f"judge.input={tmp_path}/set/_rewrites and another output" in capsys.readouterr().err
    again = ["--config", str(config), f"judge.input={tmp_path}/set/_rewrites"]
    assert judge([*again, f"output={tmp_path}/again", "judge.criteria=[safety]"]) == 0
    assert set(asked(server)) == {"safety"}


def test_rewrites_are_not_paid_for_twice(
    config: Path, server: FaultServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A set made without a judge lies where the scored set would go; so does one whose rewrites
    somebody has removed.
    """
    assert rewrite(config, "judge=null", f"output={tmp_path}/plain") == 0
    server.calls.clear()
    shutil.rmtree(tmp_path / "set" / "_rewrites")
    for name in ("plain", "set"):
        assert rewrite(config, f"output={tmp_path}/{name}") == 1
        assert (
            f"run prewrite judge with judge.input={tmp_path}/{name} and" in capsys.readouterr().err
        )
    assert not asked(server)
    again = ["--config", str(config), f"judge.input={tmp_path}/plain", f"output={tmp_path}/scored"]
    assert judge(again) == 0
    assert set(asked(server)) == {"quality", "safety"}


def _damaged_rewrites(config: Path) -> Path:
    """The rewrites of the set, one part of which is to be made again."""
    rewrites = config.parent / "set" / names.REWRITES
    flip(rewrites, ShardSet(str(rewrites)).parts[0])
    assert "run the command that made it" in repair(str(rewrites))[-1]
    return rewrites


def test_repaired_rewrites_are_continued(config: Path, server: FaultServer) -> None:
    """The scored set beside them is that of these rewrites, and stays as it is."""
    rewrites = _damaged_rewrites(config)
    before = ShardSet(str(rewrites.parent)).manifest
    assert rewrite(config) == 0
    assert set(asked(server)) == {"rewrite"}
    assert verify(str(rewrites))["problems"] == []
    assert ShardSet(str(rewrites.parent)).manifest == before


def _say_more(answer: dict[str, Any]) -> None:
    answer["choices"][0]["message"]["content"] += " More."


def test_repaired_rewrites_that_are_others_are_judged_again(
    config: Path, server: FaultServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """The judge is asked about these rows once somebody says so."""
    rewrites = _damaged_rewrites(config)
    server.plan = lambda call: Fault(edit=_say_more)
    assert rewrite(config) == 1
    assert "run this command with --retry-failed" in capsys.readouterr().err
    server.plan = None
    asked(server)
    assert rewrite(config, "--retry-failed") == 0
    assert set(asked(server)) == {"quality", "safety"}
    assert verify(str(rewrites.parent))["problems"] == []
    both = (rewrites, rewrites.parent)
    new, judged = ([row["rewrite"] for row in ShardSet(at).rows()] for at in both)
    assert new == judged and any("More." in text for text in new)


def test_a_set_is_not_judged_onto_itself(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert judge(["--config", str(config), f"judge.input={tmp_path}/set/"]) == 2
    errors = capsys.readouterr().err
    assert f"output: found '{tmp_path}/set', which is or lies in judge.input" in errors


def test_a_judge_that_comes_later_wipes_no_unfinished_run(
    tmp_path: Path, server: FaultServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """The set of rewrites was begun at `output`; with a judge it would be a folder of that."""
    (tmp_path / "in.jsonl").write_bytes(corpus_lines(0, DOCUMENTS))
    path, out = tmp_path / "recipe.yaml", tmp_path / "set"
    path.write_text(
        recipe(f"{tmp_path}/in.jsonl", str(out), server.url, judge=True, rows_per_part=2)
    )
    server.plan = lambda call: Fault(401) if call.number == 8 else None
    assert rewrite(path, "judge=null") == 1
    committed = sorted(p.name for p in (out / names.RECORDS).glob("*.json"))
    assert committed
    capsys.readouterr()
    assert rewrite(path) == 1
    assert "an unfinished set is here, but not its rewrites" in capsys.readouterr().err
    assert sorted(p.name for p in (out / names.RECORDS).glob("*.json")) == committed
    assert not (out / "_rewrites").exists()
    assert rewrite(path, "judge=null") == 0
    assert verify(str(out))["problems"] == []


def test_a_scored_set_of_a_corpus_with_bad_records_is_good(
    config: Path, tmp_path: Path, server: FaultServer
) -> None:
    """Its log holds the documents, its inputs all records."""
    with (tmp_path / "in.jsonl").open("a") as corpus:
        corpus.write('{"text": 7}\n')
    out = tmp_path / "other"
    assert rewrite(config, f"output={out}", "input.max_bad_rows=0.5") == 0
    assert verify(str(out))["problems"] == []
    assert repair(str(out)) == []


def _flip(file: Path) -> None:
    flip(file.parents[1], ShardSet(file.parents[1]).verdicts[0])


@pytest.mark.parametrize("damage", [Path.unlink, lambda file: file.write_bytes(b""), _flip])
def test_damaged_verdicts_alone_are_made_again(
    config: Path,
    tmp_path: Path,
    damage: Callable[[Path], object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Although the rows that they are about are whole, and a repair was killed before."""

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "scored"
    again = ["--config", str(config), f"judge.input={tmp_path}/set/_rewrites", f"output={out}"]
    assert judge(again) == 0
    before = list(ShardSet(str(out)).rows())
    files = files_of(ShardSet(str(out)).verdicts)
    (file, parts), *_ = files.items()
    damage(out / file)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Manifest, "save", killed)  # once the log says what is to be made again
        repair(str(out))
    said = repair(str(out))[-1]
    assert said.endswith(f"of {1 if damage is _flip else len(parts)} parts")
    assert judge(again) == 0
    assert verify(str(out))["problems"] == []
    assert list(ShardSet(str(out)).rows()) == before
