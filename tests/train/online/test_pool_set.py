"""Kept pools as a set: which rollout is taken, what its row says, and who can use the set."""

import dataclasses
import json
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prewrite.base.files import Folder
from prewrite.base.share import share
from prewrite.commands import main
from prewrite.engine.config import VllmConfig
from prewrite.engine.types import Completion, Request
from prewrite.evaluation.checks import documents_of
from prewrite.judge.config import JudgeConfig
from prewrite.judge.judge import Judge
from prewrite.judge.passes import JudgePass
from prewrite.judge.scorer import RowScorer
from prewrite.pipeline.config import RunConfig
from prewrite.pipeline.passes import Work
from prewrite.pipeline.run import run_pass
from prewrite.prompts.context import contexts
from prewrite.shards import lock
from prewrite.shards.manifest import Manifest
from prewrite.shards.reader import ShardSet
from prewrite.shards.schema import Row
from prewrite.shards.verify import verify
from prewrite.train.config.task import JudgeTask
from prewrite.train.data.prompted import Wanted
from prewrite.train.messages import RolloutGroup, RolloutPrompt
from prewrite.train.online import kept_pools
from prewrite.train.online.pool_rows import NO_ORIGINAL, NO_ROLLOUT, best, rows_of
from prewrite.train.online.pool_set import PoolsPass, run
from prewrite.train.tasks.judging import label_of
from tests.faults.forks import forked
from tests.faults.steps import Point
from tests.scripted import Scripted, asked, said
from tests.train.online.pools import any_pools, group, prompt, rollout
from tests.train.online.test_kept_pools import HOSTILE

ROOT = Path(__file__).parents[3]
Pool = tuple[RolloutPrompt, RolloutGroup]


def pool(sample: int, doc_id: str, id: str = "row", **prompted: Any) -> Pool:
    """One whose second rollout is the best, and was cut off."""
    scores = {"original": 0.9, "rollout-0": 0.25, "rollout-1": 0.75}
    texts = (f"So {sample}.", rollout("And so on", ended=False))
    return (
        prompt(sample, id=id, doc_id=doc_id, **prompted),
        group(*texts, sample=sample, id=id, scores=scores, version=7),
    )


def kept(folder: Path, *steps: Sequence[Pool], rank: int = 0) -> str:
    """Keep the pools of steps; their folder."""
    for step, pools in enumerate(steps, 1):
        kept_pools.write(str(folder), step, rank, pools)
    return str(folder)


def made(pools: str, to: Path) -> list[Row]:
    """The rows of the set of these pools, which is a good one."""
    run(pools, str(to))
    assert verify(to)["problems"] == []
    return [*ShardSet(to).finished().rows()]


@given(
    scores=st.lists(
        st.none() | st.sampled_from([0.0, 0.5, nan, -1.0]) | st.floats(), min_size=1, max_size=5
    )
)
def test_the_best_rollout(scores: list[float | None]) -> None:
    known = {f"rollout-{n}": score for n, score in enumerate(scores) if score is not None}
    found = best(group(*("text" for _ in scores), scores=known | {"original": 9.0}))
    numbers = [score for score in scores if score is not None and abs(score) < inf]
    assert found == (scores.index(max(numbers)) if numbers else 0)


def test_a_rollout_without_text_is_never_the_best() -> None:
    assert best(group("", " \n", "b", "c", scores={"rollout-0": 1.0, "rollout-3": 0.1})) == 3
    assert best(group("", "\n", scores={"rollout-0": 1.0})) is None
    assert best(group()) is None


@pytest.mark.parametrize(
    ("text", "ended", "status", "reason"),
    [
        ("Other.", True, "ok", None),
        ("Other.", False, "truncated", "max_tokens"),
        ("The original text.", False, "copied", None),
        ("The original text. ", True, "ok", None),
    ],
)
def test_what_a_row_says(text: str, ended: bool, status: str, reason: str | None) -> None:
    found = group("", rollout(text, ended=ended), sample=3, id="row", version=9)
    rows = rows_of(kept_pools.KeptPool.of(prompt(3, doc_id="tale"), found))
    assert isinstance(rows, list)
    context, row = rows
    assert (context["original"], context["rewrite_status"]) == ("What stands before.", "skipped")
    assert (row["original"], row["rewrite"]) == ("The original text.", text)
    assert (row["rewrite_status"], row["rewrite_reason"]) == (status, reason)
    assert [one["doc_id"] for one in rows] == ["tale", "tale"]
    assert (row["id"], context["id"]) == ("3-row", "prefix-3-row")
    told = {"row": "row", "sample": 3, "version": 9, "rollout": "rollout-1", "score": None}
    assert json.loads(row["meta"]) == json.loads(context["meta"]) == told
    assert row["original_tokens"] == -(-len(row["original"]) * 8 // len(text))


def test_a_pool_without_what_it_takes_is_left_out(tmp_path: Path) -> None:
    bare = (prompt(1), group("", sample=1))
    blank = (prompt(2, original=" "), group("a", sample=2))
    failed = (prompt(3), group(sample=3))
    rows = made(kept(tmp_path / "pools", [bare, blank], [failed, pool(4, "d")]), tmp_path / "set")
    assert [row["id"] for row in rows] == ["prefix-4-row", "4-row"]
    manifest = ShardSet(tmp_path / "set").manifest
    assert manifest.left_out == {NO_ORIGINAL: 1, NO_ROLLOUT: 2}
    assert (manifest.inputs[0].records, manifest.documents) == (4, 1)


@settings(max_examples=15)
@given(pools=any_pools())
def test_every_pool_becomes_a_document_or_is_counted(
    tmp_path_factory: pytest.TempPathFactory, pools: list[Pool]
) -> None:
    folder = tmp_path_factory.mktemp("any")
    kept(folder / "pools", pools[::2])
    url = kept(folder / "pools", pools[1::2], rank=1)
    rows = made(url, folder / "set")
    shards = ShardSet(folder / "set")
    assert len({row["id"] for row in rows}) == len(rows)
    last = {(m["sample"], m["row"]): row for row in rows for m in [json.loads(row["meta"])]}
    assert len(last) + sum(shards.manifest.left_out.values()) == len(pools)
    for place, sampled in pools:
        if row := last.get(sampled.key):
            assert row["original"] == place.pool.reference and row["doc_id"] == place.doc_id
            assert row["rewrite"] in [one.text for one in sampled.rollouts]
    for part in shards.parts:
        documents = [rows[0]["doc_id"] for rows in shards.documents(part)]
        assert len({*documents}) == len(documents), "a part and a doc_id name one document"
        for found in shards.documents(part):
            (place,) = [p for p, _ in pools if f"{p.sample}-{p.id}" == found[-1]["id"]]
            text = "".join(place.pool.context) + place.pool.reference
            assert "".join(row["original"] for row in found) == text


def test_hostile_texts_come_through(tmp_path: Path) -> None:
    pools = [
        (
            prompt(n, f"{text}.", text, (text,), doc_id=text),
            group(f"{text}!", sample=n, id=text, scores={"rollout-0": 1.0}),
        )
        for n, text in enumerate(HOSTILE)
    ]
    rows = made(kept(tmp_path / "pools", pools), tmp_path / "set")
    last = [row for row in rows if row["rewrite"]]
    assert [row["rewrite"] for row in last] == [f"{text}!" for text in HOSTILE]
    assert [json.loads(row["meta"])["row"] for row in last] == HOSTILE
    assert [row["chunks"] for row in last] == [2 if text else 1 for text in HOSTILE]


def test_several_pools_of_a_document(tmp_path: Path) -> None:
    """Of one sample, of a later epoch, and of another rank: all on one side of a share."""
    kept(tmp_path / "pools", [pool(0, "a", "x"), pool(0, "a", "y"), pool(1, "b")], [pool(2, "a")])
    url = kept(tmp_path / "pools", [pool(3, "a"), pool(4, "c")], rank=1)
    rows = made(url, tmp_path / "set")
    shards = ShardSet(tmp_path / "set")
    numbers = [json.loads(row["meta"])["sample"] for row in rows if row["rewrite"]]
    assert sorted(numbers) == [0, 0, 1, 2, 3, 4]
    below = {name for name in "abc" if share(name) <= share("a")}
    assert {*documents_of(shards, f"share(doc_id) <= {share('a')}")} == below
    assert {*documents_of(shards, f"share(doc_id) > {share('a')}")} == {*"abc"} - below
    assert main(["shards", "remove", str(tmp_path / "set"), "--doc-id", "a"]) == 0
    assert {row["doc_id"] for row in ShardSet(tmp_path / "set").rows()} == {"b", "c"}
    assert verify(tmp_path / "set")["problems"] == []
    run(url, str(tmp_path / "set"))
    assert ShardSet(tmp_path / "set").manifest.documents == 2, "it stays taken out"


def test_the_manifest_says_where_it_comes_from(tmp_path: Path) -> None:
    url = kept(tmp_path / "pools", [pool(0, "a")], [pool(1, "b")])
    made(url, tmp_path / "set")
    (moved := tmp_path / "elsewhere").mkdir()
    (tmp_path / "pools").rename(moved / "pools")
    manifest = ShardSet(tmp_path / "set").manifest
    (made_by,), (source,) = manifest.passes, manifest.inputs
    assert made_by.name == "pools" and made_by.config["pools"]["files"] == 2
    assert source.path == url and source.records == 2
    assert source.bytes == sum(p.stat().st_size for p in (moved / "pools").glob("*.parquet"))
    assert manifest.texts == ("original", "rewrite") and manifest.criteria == []
    run(str(moved / "pools"), str(tmp_path / "set"))  # complete, wherever the pools lie


@pytest.mark.parametrize("kind", ["mended", "copied", "quality", "thought"])
def test_pools_of_a_prompted_task_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    place, found = pool(1, "b")
    other = dataclasses.replace(place, wanted=Wanted(kind))
    url = kept(tmp_path / "pools", [pool(0, "a")], [(other, found)])
    sentence = refused(capsys, url, tmp_path / "set", 1)
    assert f"step-00000002-rank-00000.parquet: found a pool of the kind '{kind}', whose" in sentence
    assert not (tmp_path / "set").exists()


def refused(capsys: pytest.CaptureFixture[str], pools: str, to: Path | str, code: int) -> str:
    """The sentence with which the command ends."""
    capsys.readouterr()
    assert main(["train", "pools", pools, "--to", str(to)]) == code
    told = capsys.readouterr().err
    assert told.startswith("error: ") and "Traceback" not in told
    return told


def test_what_is_no_whole_folder_of_pools_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = tmp_path / "set"
    assert "found no pools of rollouts; accepted" in refused(capsys, str(tmp_path), to, 1)
    url = kept(tmp_path / "pools", [pool(0, "a")], [pool(1, "b")])
    first, second = sorted((tmp_path / "pools").glob("*.parquet"))
    whole = first.read_bytes()
    at = whole.index(b"\x28\xb5\x2f\xfd") + 8  # in a compressed page
    first.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    assert "not pools of rollouts: " in refused(capsys, url, to, 1)
    first.unlink()
    sentence = refused(capsys, url, to, 1)
    assert f"{url}/{second.name}: found a file that does not follow the one before" in sentence
    first.write_bytes(whole)
    kept(tmp_path / "pools", [pool(0, "a")], rank=1)
    assert "sample 0, row row: found twice" in refused(capsys, url, to, 1)
    assert not to.exists()


def test_a_folder_with_something_in_it_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url, other = (kept(tmp_path / n, [pool(len(n), n)]) for n in ("pools", "others"))
    to = tmp_path / "set"
    rows = made(url, to)
    sentence = refused(capsys, other, to, 2)
    assert "was made under another configuration; choose another output" in sentence
    assert [*ShardSet(to).rows()] == rows
    (tmp_path / "mine/_prewrite").mkdir(parents=True)
    (tmp_path / "mine/_prewrite/README.md").write_text("mine")
    assert "which no shard set here has written" in refused(capsys, url, tmp_path / "mine", 1)
    assert "found '" in refused(capsys, url, tmp_path, 1), "it holds the pools"


@pytest.mark.parametrize(
    ("pools", "to", "found"),
    [
        ("", "set", "pools: found ''"),
        ("pools", "", "output: found ''"),
        ("pools", "/", "output: found '/'"),
        ("https://me:secret@host/pools", "set", "pools: found a URL with a password"),
        (os.fsdecode(b"pools\xff"), "set", "pools: found a text with half a character"),
    ],
)
def test_what_is_no_place(
    capsys: pytest.CaptureFixture[str], pools: str, to: str, found: str
) -> None:
    assert f"prewrite train pools: {found}" in refused(capsys, pools, to, 2)


def test_it_may_be_killed_at_any_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is called complete before it is, and the same command makes the same rows."""
    monkeypatch.setattr(lock, "SETTLE", 0.01)
    url = kept(tmp_path / "pools", [pool(0, "a"), pool(0, "a", "other")], [pool(1, "b")])
    rows, case = made(url, tmp_path / "set"), tmp_path / "case"

    def go() -> None:
        run_pass(PoolsPass(url), str(case / "set"), RunConfig(rows_per_part=1))

    case.mkdir()
    steps, ended = len(forked(go, case).kinds), list[bool]()
    for number in range(1, steps, 17):
        case = tmp_path / f"case-{number}"
        case.mkdir()
        assert forked(go, case, Point(number)).killed
        found = Manifest.find(Folder(f"{case}/set"))
        ended.append(found is not None and found.status == "complete")
        if ended[-1]:
            assert [*ShardSet(case / "set").rows()] == rows
        run(url, str(case / "set"))
        assert [*ShardSet(case / "set").finished().rows()] == rows
        assert verify(case / "set")["problems"] == []
    assert ended.count(False) > 5


def prefers_what_ended(request: Request) -> Completion:
    """A judge to whom whatever goes on and on is the worse one."""
    text = "".join(request.prompt.user)
    first = "And so on" in text[text.index("<second>") :]
    return said("1", "stop", **{"1": 0.9 if first else 0.1, "2": 0.1 if first else 0.9})


@dataclass(frozen=True)
class OtherJudge(JudgePass):
    @asynccontextmanager
    async def open(self) -> AsyncIterator[Work]:
        yield RowScorer([Judge("e", Scripted(prefers_what_ended), self.judge)], self.judge)


def test_a_judge_learns_from_it(tmp_path: Path) -> None:
    """Another judge labels it; the task then asks about original and rollout after the prefix."""
    url = kept(tmp_path / "pools", [pool(0, "a"), pool(1, "b", context=())])
    made(url, tmp_path / "set")
    config = JudgeConfig.model_validate({"engine": "e", "criteria": ["quality"]})
    engines = {"e": VllmConfig(kind="vllm", model="scripted")}
    judge = OtherJudge(str(tmp_path / "set"), config, {**engines})
    run_pass(judge, str(tmp_path / "scored"), RunConfig())
    shards = ShardSet(tmp_path / "scored").finished()
    assert [made.name for made in shards.manifest.passes] == ["pools", "judge"]
    for document in (rows for part in shards.parts for rows in shards.documents(part)):
        assert label_of(document[-1], asked("quality")) == 1.0, "to it the original is better"
        context = contexts(document, JudgeTask(kind="judge").max_context_tokens)[-1]
        assert "".join(context) == ("What stands before." if len(document) > 1 else "")


def test_the_commands_that_take_a_set_take_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = kept(tmp_path / "pools", [pool(0, "a"), pool(1, "b")])
    to = str(tmp_path / "set")
    made(url, tmp_path / "set")
    for words in (["show", to], ["verify", to], ["stats", to], ["report", to], ["upgrade", to]):
        assert main(["shards", *words]) == 0
    assert "truncated" in (tmp_path / "set/_report/report.html").read_text()
    monkeypatch.chdir(ROOT)
    judge = ["judge", "--config", "configs/quickstart.yaml", f"judge.input={to}", "--dry-run"]
    judge += [f"output={tmp_path}/scored", "judge.criteria=[safety]"]
    assert main(judge) == 0
    assert f"judge {to} (1 parts) on safety → {tmp_path}/scored" in capsys.readouterr().out
    rewrite = ["rewrite", "--config", "configs/quickstart.yaml", f"rewrite.input={to}", "--dry-run"]
    assert main(rewrite) == 2
    assert "a set with other texts" in capsys.readouterr().err
