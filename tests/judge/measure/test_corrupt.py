"""The corrupt pass: every row keeps its place and has a worse text with known scores, or says why
not; nobody can take such a set for rewrites.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

import prewrite.judge.corrupt
from prewrite.base.config import load
from prewrite.base.errors import ConfigError
from prewrite.engine.types import Completion, Request
from prewrite.judge.config import JudgeRecipe
from prewrite.judge.corrupt import Corruptor, corrupt_pass
from prewrite.judge.measure.config import CorruptRecipe
from prewrite.judge.measure.corruptions import CORRUPTIONS, corruption_of
from prewrite.judge.passes import judge_pass
from prewrite.pipeline.passes import Document, DocumentResult
from prewrite.rewrite.config import RewriteRecipe
from prewrite.rewrite.more import rewrite_pass
from prewrite.shards.card import card
from prewrite.shards.export import Export
from prewrite.shards.reader import ShardSet
from prewrite.shards.schema import USABLE, Row, schema
from prewrite.shards.stats import Stats
from prewrite.shards.verify import verify
from tests.commands import judge, rewrite, shards
from tests.scripted import Scripted, said

ENGINES = {"main": {"kind": "endpoint", "urls": ["http://127.0.0.1:1/v1"], "model": "none"}}


def words(folder: Path, url: str | None, **corrupt: Any) -> list[str]:
    """The arguments of the command; its set goes to `folder`/out."""
    path = folder / "recipe.yaml"
    recipe = {
        "output": str(folder / "out"),
        "engines": ENGINES,
        "judge": {"engine": "main", "input": url},
        "measure": {"corrupt": corrupt},
    }
    path.write_text(yaml.safe_dump(recipe))
    return ["--config", str(path)]


def rows_of(url: object) -> list[Row]:
    return [*ShardSet(str(url)).rows()]


def drawn(rows: Sequence[Row]) -> dict[str, tuple[str | None, str | None]]:
    """What became of each row that was drawn."""
    return {
        row["id"]: (row["rewrite"], row["rewrite_reason"])
        for row in rows
        if row["rewrite_status"] != "skipped"
    }


@pytest.fixture(scope="module")
def made(cut: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All rows of the set that is only cut, corrupted."""
    folder = tmp_path_factory.mktemp("corrupt")
    assert judge(["corrupt", *words(folder, cut)]) == 0
    return folder / "out"


def test_every_original_stands_beside_a_worse_text(made: Path, cut: str) -> None:
    assert verify(made)["problems"] == []
    rows = rows_of(made)
    kept = [(row["id"], row["doc_id"], row["original"]) for row in rows_of(cut)]
    assert [(row["id"], row["doc_id"], row["original"]) for row in rows] == kept
    usable = [row for row in rows if row["rewrite_status"] in USABLE]
    assert len(usable) > len(rows) / 2
    for row in usable:
        assert row["rewrite"].split() != row["original"].split()
        assert (row["original_quality"], row["rewrite_quality"]) == (1, 0)
        assert (row["original_score"], row["rewrite_score"]) == (1, 0)
        assert corruption_of(row["meta"]) in CORRUPTIONS
    assert {corruption_of(row["meta"]) for row in usable} == {*CORRUPTIONS}


def test_a_row_that_cannot_be_corrupted_says_why(made: Path) -> None:
    rows = [row for row in rows_of(made) if row["rewrite_status"] not in USABLE]
    assert rows
    for row in rows:
        kind, _, reason = row["rewrite_reason"].partition(": ")
        assert (row["rewrite_status"], reason) == ("failed", "does_not_apply")
        assert kind in CORRUPTIONS and corruption_of(row["meta"]) is None
        assert row["original_quality"] is None and row["rewrite_quality"] is None
    (*_, told) = ShardSet(made).manifest.passes
    assert told.failed == len(rows) == sum(found.count for found in told.failures.values())


def test_the_inserted_words_are_of_another_document(made: Path) -> None:
    originals = {row["doc_id"]: row["original"] for row in reversed(rows_of(made))}
    for row in rows_of(made):
        if corruption_of(row["meta"]) == "inserted":
            before, after = row["original"].split(), row["rewrite"].split()
            assert len(after) == len(before) + 12
            new = next(i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b)
            text = " ".join(after[new : new + 6])
            others = (one for name, one in originals.items() if name != row["doc_id"])
            assert any(text in " ".join(other.split()) for other in others)


def test_the_same_command_does_nothing_and_makes_the_same_elsewhere(
    made: Path, cut: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = words(tmp_path, cut)
    assert judge(["corrupt", *arguments, "run.rows_per_part=5"]) == 0
    assert rows_of(tmp_path / "out") == rows_of(made)
    capsys.readouterr()
    assert judge(["corrupt", *arguments]) == 0
    assert "the set is complete; nothing to do" in capsys.readouterr().out
    assert judge(["corrupt", *arguments, "measure.corrupt.seed=1"]) == 2
    assert "corrupt.seed" in capsys.readouterr().err
    assert judge(["corrupt", *arguments, "measure.corrupt.seed=1", f"output={tmp_path}/b"]) == 0
    assert rows_of(tmp_path / "b") != rows_of(made)


def test_some_rows_are_drawn_and_become_what_they_would_among_all(
    made: Path, cut: str, tmp_path: Path
) -> None:
    assert judge(["corrupt", *words(tmp_path, cut, rows=20), "run.rows_per_part=7"]) == 0
    rows = rows_of(tmp_path / "out")
    some, every = drawn(rows), drawn(rows_of(made))
    assert len(some) == 20 and some.items() <= every.items()
    assert len({row["doc_id"] for row in rows if row["id"] in some}) > 5
    skipped = [row for row in rows if row["id"] not in some]
    assert {(row["rewrite"], row["original_score"]) for row in skipped} == {(None, None)}
    assert verify(tmp_path / "out")["problems"] == []


def test_a_kind_that_is_named_twice_is_drawn_twice_as_often(cut: str, tmp_path: Path) -> None:
    kinds = ["truncated", "truncated", "truncated", "repeated"]
    assert judge(["corrupt", *words(tmp_path, cut, kinds=kinds)]) == 0
    counts = ShardSet(tmp_path / "out").manifest.passes[-1].counts
    often, seldom = counts["corruption:truncated"], counts["corruption:repeated"]
    assert 2 * seldom < often < 5 * seldom


def test_everybody_is_told_what_it_is(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = ShardSet(made).manifest
    assert manifest.corrupted and [one.name for one in manifest.passes] == ["rewrite", "corrupt"]
    assert "# Corrupted shard set\n\nA corrupted set: its rewrites are " in card(manifest)
    for command in (["show"], ["stats"]):
        assert shards([*command, str(made)]) == 0
        told = capsys.readouterr().out
        assert "A corrupted set" in told and "does_not_apply" in told
    assert Stats(str(made)).report()["corrupted"] is True


def test_who_chooses_by_score_takes_the_original(made: Path) -> None:
    assert {record["candidate"] for record in Export(made, "chunk")} == {"original"}
    originals = {row["original"] for row in rows_of(made)}
    pairs = [*Export(made, "pair")]
    assert pairs and {pair["chosen"] for pair in pairs} <= originals


def test_its_texts_are_not_taken_over_as_rewrites(made: Path, tmp_path: Path) -> None:
    recipe = {
        "input": {"paths": ["configs/sample/*.jsonl"]},
        "output": "out",
        "chunking": {"tokenizer": "models/smollm2-135m-instruct", "tokens": 64},
        "engines": ENGINES,
        "rewrite": {"engine": "main", "input": str(made)},
    }
    with pytest.raises(ConfigError, match="rewrite.input: found .* a corrupted set; accepted: one"):
        rewrite_pass(RewriteRecipe.model_validate(recipe)).fresh  # noqa: B018


def test_it_is_not_corrupted_once_more(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its `meta` would tell of both, and of the first where the second does not apply."""
    assert judge(["corrupt", *words(tmp_path, str(made))]) == 1
    assert f"{made}: found a corrupted set, whose rows say" in capsys.readouterr().err


def test_a_judge_is_asked_about_all_of_a_corrupted_set(rewritten: str, tmp_path: Path) -> None:
    """Also where the set that was corrupted had been judged in the same way; known scores are no
    verdicts.
    """
    arguments = words(tmp_path, rewritten, criterion="variety")
    scored = ["judge.criteria=[variety]", f"output={tmp_path}/scored"]
    assert judge([*arguments, *scored]) == 0
    assert judge(["corrupt", *arguments, f"judge.input={tmp_path}/scored"]) == 0
    manifest = ShardSet(tmp_path / "out").manifest
    assert [one.name for one in manifest.passes] == ["rewrite", "corrupt"]
    assert manifest.criteria == ["variety"] and manifest.verdicts_digest == ""
    again = load(JudgeRecipe, arguments[1], [*scored, f"judge.input={tmp_path}/out"])
    job = judge_pass(str(again.judge.input), again.judge, again.engines)
    assert job.kept == frozenset() and [one.name for one in job.fresh] == ["variety"]
    assert judge([*arguments, "judge.criteria=[variety]", f"judge.input={tmp_path}/out",
                  f"output={tmp_path}/judged"]) == 0  # fmt: skip
    assert ShardSet(tmp_path / "judged").manifest.corrupted
    values = {row["original_variety"] for row in rows_of(tmp_path / "judged")}
    assert len(values) > 2


@pytest.mark.parametrize(
    ("corrupt", "override", "code", "sentence"),
    [
        ({"kinds": ["shuffeld"]}, "", 2, "measure.corrupt.kinds.0: found 'shuffeld'; accepted: "),
        ({"kinds": []}, "", 2, "measure.corrupt.kinds: found []; accepted: "),
        ({"kinds": ["model"]}, "", 2, "engine: this key is required where kinds has model"),
        ({"engine": "mian"}, "", 2, "measure.corrupt.engine: found 'mian'; did you mean 'main'?"),
        ({"rows": 10**6}, "", 2, "measure.corrupt.rows: found 1000000; accepted with "),
        ({"rows": 0}, "", 2, "measure.corrupt.rows: found 0; accepted: "),
        ({"criterion": "qualty"}, "", 2, "found 'qualty'; accepted: "),
        ({}, "judge.input=null", 2, "judge.input: this key is required here: the set to corrupt"),
        ({}, "output={url}", 2, "which is or lies in judge.input; accepted: another"),
        ({}, "output={url}/below", 2, "which is or lies in judge.input; accepted: another"),
        ({}, "judge.input={folder}/none", 1, "no shard set here"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    cut: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    corrupt: dict[str, Any],
    override: str,
    code: int,
    sentence: str,
) -> None:
    more = [override.format(url=cut, folder=tmp_path)] if override else []
    before = ShardSet(cut).manifest.digest
    for mode in (["--dry-run"], []):
        assert judge(["corrupt", *words(tmp_path, cut, **corrupt), *more, *mode]) == code
        told = capsys.readouterr().err
        assert sentence in told and "Traceback" not in told and told.strip().count("\n") == 0
    assert not (tmp_path / "out").exists() and ShardSet(cut).manifest.digest == before


def test_a_set_with_nothing_to_corrupt_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its documents are shorter than the full chunk that `exact` asks for."""
    (tmp_path / "in.jsonl").write_text(json.dumps({"text": "Too short."}))
    chunking = {"tokenizer": "models/smollm2-135m-instruct", "tokens": 64, "exact": True}
    recipe = {
        "input": {"paths": [f"{tmp_path}/in.jsonl"]},
        "output": f"{tmp_path}/short",
        "chunking": chunking,
        "rewrite": None,
    }
    (tmp_path / "cut.yaml").write_text(yaml.safe_dump(recipe))
    assert rewrite(["--config", f"{tmp_path}/cut.yaml"]) == 0
    capsys.readouterr()
    assert judge(["corrupt", *words(tmp_path, f"{tmp_path}/short")]) == 1
    assert "found no row to corrupt; accepted: rows that are not" in capsys.readouterr().err


def test_a_set_of_which_nothing_could_be_corrupted_is_not_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.jsonl").write_text(json.dumps({"text": "Five words and no more."}))
    chunking = {"tokenizer": "models/smollm2-135m-instruct", "tokens": 64}
    recipe = {
        "input": {"paths": [f"{tmp_path}/in.jsonl"]},
        "output": f"{tmp_path}/short",
        "chunking": chunking,
        "rewrite": None,
    }
    (tmp_path / "cut.yaml").write_text(yaml.safe_dump(recipe))
    assert rewrite(["--config", f"{tmp_path}/cut.yaml"]) == 0
    arguments = words(tmp_path, f"{tmp_path}/short", kinds=["shuffled"])
    assert judge(["corrupt", *arguments]) == 1
    assert "1 of 1 rows that were asked about failed" in capsys.readouterr().err
    assert ShardSet(tmp_path / "out").manifest.status == "interrupted"


TEXTS = ("The town lies on the river. ", "Its bridge was built in 1742. ", "Then came the flood.")
"""Chunks of one document."""


def by_model(
    answer: Callable[[Request], Completion], cut: str, tmp_path: Path
) -> tuple[DocumentResult, Scripted]:
    """What the pass makes of `TEXTS` with an engine that answers as told."""
    recipe = load(CorruptRecipe, words(tmp_path, cut, kinds=["model"], engine="main", seed=3)[1])
    engine = Scripted(answer)
    bare = dict.fromkeys(schema(["quality"]).names)
    rows = [
        bare | {"id": f"{n}", "doc_id": "d", "original": text, "original_tokens": 8, "meta": "{}"}
        for n, text in enumerate(TEXTS)
    ]
    work = Corruptor(corrupt_pass(recipe), engine)
    return asyncio.run(work(Document(rows, 0))), engine


def test_a_model_is_asked_for_a_text_close_to_the_passage(cut: str, tmp_path: Path) -> None:
    def answer(request: Request) -> Completion:
        passage = "".join(request.prompt.user).partition("<passage>")[2].partition("<")[0]
        return said(passage.replace("the ", "a ").replace("1742", "1842"))

    outcome, engine = by_model(answer, cut, tmp_path)
    texts = [row["rewrite"] for row in outcome.rows]
    changed = (("the river", "a river"), ("1742", "1842"), ("the flood", "a flood"))
    for text, original, pair in zip(texts, TEXTS, changed, strict=True):
        assert text == original.replace(*pair)
    assert {row["meta"] for row in outcome.rows} == {'{"corruption": "model"}'}
    assert "<context>The town lies on the river. </context>" in engine.prompts[1]
    assert {request.prompt.answer for request in engine.asked} == {""}, "nothing is primed"
    assert len({request.sampling.seed for request in engine.asked}) == 3
    assert outcome.counts["corruption:model"] == 3 and outcome.usage.requests == 3


@pytest.mark.parametrize(
    ("answer", "status", "reason"),
    [
        (said(TEXTS[1]), "failed", "model: copied"),
        (said("I'm sorry, but I can't assist with that."), "refused", "model: refusal"),
        (said("The bridge. " * 30), "failed", "model: too_long"),
        (said("A bridge."), "failed", "model: too_short"),
        (said("Its bridge was built in 1842, and", "length"), "failed", "model: max_tokens"),
        (said(" "), "empty", "model: no_text"),
        (Completion(error="HTTP 500"), "failed", "model: engine: HTTP 500"),
    ],
)
def test_an_answer_that_is_no_corruption_is_counted_with_its_reason(
    answer: Completion, status: str, reason: str, cut: str, tmp_path: Path
) -> None:
    good = said("Its bridge was torn down in 1742.")

    def told(request: Request) -> Completion:
        return answer if f"<passage>{TEXTS[1]}<" in "".join(request.prompt.user) else good

    outcome, _ = by_model(told, cut, tmp_path)
    row = outcome.rows[1]
    assert (row["rewrite_status"], row["rewrite_reason"]) == (status, reason)
    assert row["rewrite"] is None and row["original_quality"] is None and row["meta"] == "{}"
    assert reason in [failure.reason for failure in outcome.failures]
    assert outcome.failed == len(outcome.failures)


def test_only_the_kind_model_loads_an_engine(
    cut: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Scripted(lambda request: said("It is all quite wrong, and so was the rest. " * 5))
    monkeypatch.setattr(prewrite.judge.corrupt, "get_engine", lambda config: engine)
    monkeypatch.setattr(prewrite.judge.corrupt, "probe", lambda config: None)
    arguments = words(tmp_path, cut, kinds=["model", "truncated"], engine="main", rows=30)
    assert judge(["corrupt", *arguments]) == 0
    manifest = ShardSet(tmp_path / "out").manifest
    made = manifest.passes[-1]
    assert made.versions == {"scripted": "1"} and made.config["engine"]["model"] == "none"
    kinds = Counter(key.removeprefix("corruption:") for key in made.counts if ":" in key)
    assert {"model", "truncated"} <= kinds.keys()
    assert 0 < made.usage.requests == len(engine.asked) < 30
    assert verify(tmp_path / "out")["problems"] == []


def test_the_plan_says_what_would_be_done(
    cut: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = words(tmp_path, cut, kinds=["falsified"], rows=7)
    assert judge(["corrupt", *arguments, "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert f"corrupt 7 rows of {cut} (falsified), known on quality → {tmp_path}/out" in told
    assert not (tmp_path / "out").exists()
