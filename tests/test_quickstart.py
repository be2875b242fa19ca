"""The quick-start as a user runs it: the command, the real engine, real text, the set on disk."""

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from prewrite.judge.criteria import load_criterion
from prewrite.shards import names
from prewrite.shards.reader import ShardSet
from prewrite.shards.schema import STATUSES, Row
from prewrite.shards.verify import verify
from tests import forked

RECIPE = "configs/quickstart.yaml"
CRITERIA = ("quality", "safety", "factuality")


def command(name: str, *overrides: str) -> subprocess.CompletedProcess[str]:
    """`prewrite NAME --config configs/quickstart.yaml …`."""
    return forked.command(name, "--config", RECIPE, *overrides)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A scored set of two documents, and what the run printed."""
    out = tmp_path_factory.mktemp("quickstart") / "set"
    words = [f"output={out}", "input.limit=2", "rewrite.sampling.max_tokens=48"]
    arguments = [sys.executable, "-m", "prewrite", "rewrite", "--config", RECIPE, *words]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    return out, done.stdout + done.stderr


@pytest.fixture(scope="module")
def rows(run: tuple[Path, str]) -> list[Row]:
    return list(ShardSet(str(run[0])).rows())


def verdicts_of(url: Path) -> list[Row]:
    """Every row of `judgements/`."""
    files = sorted((url / names.JUDGEMENTS).iterdir())
    return [verdict for file in files for verdict in pq.read_table(file).to_pylist()]


def test_the_set_is_whole(run: tuple[Path, str], rows: list[Row]) -> None:
    lines = Path("configs/sample/c4.jsonl").read_text().splitlines()[:2]
    documents = "".join(json.loads(line)["text"] for line in lines)
    assert "".join(row["original"] for row in rows) == documents
    assert verify(str(run[0]))["problems"] == []
    assert {row["rewrite_status"] for row in rows} <= set(STATUSES)
    assert any(row["rewrite"] for row in rows), "no usable rewrite at all"


def test_what_a_person_sees(run: tuple[Path, str]) -> None:
    text = run[1]
    for expected in (
        "rows/s",
        "output tokens/s",
        "prefix cache",
        "complete shard set",
        "mean score",
    ):
        assert expected in text
    assert "Traceback" not in text


def test_scores_follow_from_the_verdicts(run: tuple[Path, str], rows: list[Row]) -> None:
    """Every score is recomputed here from `judgements/`, without the code that made it."""
    verdicts = verdicts_of(run[0])
    judged = 0
    for row in rows:
        for text in ("original", "rewrite"):
            for name in CRITERIA:
                mine = [v for v in verdicts if v["id"] == row["id"] and v["criterion"] == name]
                assert row[f"{text}_{name}"] == pytest.approx(_score(mine, text), abs=1e-5)
                judged += row[f"{text}_{name}"] is not None
            parts = [row[f"{text}_{name}"] for name in CRITERIA]
            total = None if None in parts else pytest.approx(sum(parts), abs=1e-5)
            assert row[f"{text}_score"] == total
    assert judged


def _score(verdicts: list[Row], text: str) -> float | None:
    values = [v["value"] for v in verdicts if v["candidate"] == text]
    values += [1 - v["value"] for v in verdicts if v["opponent"] == text and v["value"] is not None]
    if not values or None in values:
        return None
    return statistics.fmean(values)


def test_a_row_without_a_rewrite_has_no_made_up_scores(rows: list[Row]) -> None:
    for row in rows:
        if row["rewrite"] is None:
            assert row["rewrite_safety"] is None
            assert row["original_quality"] is None
            assert row["original_safety"] is not None


def test_both_orders_were_asked(run: tuple[Path, str]) -> None:
    verdicts = verdicts_of(run[0])
    pairs = [v for v in verdicts if v["criterion"] == "quality"]
    assert sorted({v["order"] for v in pairs}) == [0, 1]
    assert {(v["candidate"], v["opponent"]) for v in pairs} == {("original", "rewrite")}


def test_the_manifest_says_where_it_comes_from(run: tuple[Path, str]) -> None:
    manifest = ShardSet(str(run[0])).manifest
    assert [item.name for item in manifest.passes] == ["rewrite", "judge"]
    assert manifest.criteria == list(CRITERIA)
    for item in manifest.passes:
        assert item.usage.prompt_tokens > (item.usage.cached_tokens or 0) > 0
        assert item.versions["vllm"]
    rewriter, judge = (item.config for item in manifest.passes)
    assert len(rewriter["engine"]["digest"]) == len(judge["judges"]["main"]["digest"]) == 64
    assert (asked := judge["judge"]["criteria"]) == ["quality", "safety", "factuality-alone"]
    for known, name in zip(judge["criteria"], asked, strict=True):
        assert known.items() >= (load_criterion(name).identity() | {"weight": 1.0}).items()


def test_a_second_run_says_complete(run: tuple[Path, str]) -> None:
    overrides = (f"output={run[0]}", "input.limit=2", "rewrite.sampling.max_tokens=48")
    done = command("rewrite", *overrides)
    assert done.returncode == 0
    assert "the set is complete" in done.stdout
    changed = command("rewrite", *overrides, "rewrite.sampling.seed=1")
    assert changed.returncode == 2
    assert "rewrite.sampling.seed: 0 → 1" in changed.stderr


def test_judged_again_with_reasoning(run: tuple[Path, str], tmp_path: Path) -> None:
    """The other read-out, through `prewrite judge`; rewrites are not touched."""
    done = command(
        "judge",
        f"output={tmp_path}/set",
        f"judge.input={run[0]}",
        "judge.criteria=[safety]",
        "judge.readout=reasoning",
        "judge.sampling={votes: 2, max_tokens: 12}",
    )
    assert done.returncode == 0, done.stderr
    shards = ShardSet(f"{tmp_path}/set")
    again, before = list(shards.rows()), list(ShardSet(str(run[0])).rows())
    assert [r["rewrite"] for r in again] == [r["rewrite"] for r in before]
    assert verify(f"{tmp_path}/set")["problems"] == []
    verdicts = [
        v for part in shards.verdicts for batch in shards.batches(part) for v in batch.to_pylist()
    ]
    assert {v["vote"] for v in verdicts} == {0, 1}
    for verdict in verdicts:
        assert (verdict["value"] is None) == (verdict["status"] != "ok")


def test_another_weight_and_another_criterion_ask_only_what_is_new(
    run: tuple[Path, str], rows: list[Row], tmp_path: Path
) -> None:
    """A scored set is judged again: what the same judge said is taken over, verdicts included."""
    longer = tmp_path / "longer.yaml"
    longer.write_text(
        "{name: longer, version: 1, kind: python, function: tests.functions:share_of_a_kilobyte}"
    )
    done = command(
        "judge",
        f"output={tmp_path}/set",
        f"judge.input={run[0]}",
        f"judge.criteria=[quality, safety, {longer}]",
        "judge.weights={quality: 2, longer: 0.5}",
        "judge.combine=mean",
    )
    assert done.returncode == 0, done.stderr
    shards = ShardSet(f"{tmp_path}/set")
    assert verify(f"{tmp_path}/set")["problems"] == []
    assert shards.manifest.criteria == ["quality", "safety", "longer"]
    assert shards.manifest.passes[-1].usage.requests == 0
    before = [v for v in verdicts_of(run[0]) if v["criterion"] != "factuality"]
    after = verdicts_of(tmp_path / "set")
    assert [v for v in after if v["criterion"] != "longer"] == before
    for row, old in zip(shards.rows(), rows, strict=True):
        assert (row["original_quality"], row["quality_consistency"]) == (
            old["original_quality"],
            old["quality_consistency"],
        )
        assert row["original_longer"] == pytest.approx(len(row["original"]) / 1000)
        if row["original_score"] is not None:
            total = 2 * row["original_quality"] + row["original_safety"]
            total += 0.5 * row["original_longer"]
            assert row["original_score"] == pytest.approx(total / 3.5)


@pytest.fixture(scope="module")
def trained(run: tuple[Path, str], rows: list[Row]) -> Path:
    """The run of the recipe's own phases with a step each, on the first of the two documents."""
    recipe = yaml.safe_load(Path(RECIPE).read_text())
    phases = recipe["train"]["curriculum"]
    for number, phase in enumerate(phases, 1):
        phase["until"] = {"step": number}
    out = run[0].parent / "run"
    taken = f"doc_id == '{rows[0]['doc_id']}'"
    done = command(
        "train",
        f"train.data=[{{set: {run[0]}, filter: {json.dumps(taken)}}}]",
        f"train.output={out}",
        f"train.curriculum={json.dumps(phases)}",
        "train.batch={samples: 2, sequence_tokens: 512, max_seq_len: 256, context_tokens: 64}",
        "train.rollouts.samples=3",
        "train.rollouts.tokens=12",
        "engines.main.args={kv_cache_memory_bytes: 268435456}",
    )
    assert done.returncode == 0, done.stderr
    return out


def test_all_phases_train_on_the_set(trained: Path) -> None:
    """The better text, offline DPO, fresh rollouts."""
    steps = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert [step["phase"] for step in steps] == ["imitate", "prefer", "explore"]
    assert ["rollouts/pools" in step for step in steps] == [False, False, True]
    assert steps[2]["rollouts/unscored"] < 1
    assert steps[2]["sync/difference"] < 1e-3
    (pools,) = sorted((trained / "rollouts/pools").glob("*.md"))
    text = pools.read_text()
    assert "### original" in text
    assert all(f"### rollout-{number}" in text for number in range(3))
    assert (trained / "model/model.safetensors").exists()


def evaluate(
    run: tuple[Path, str], trained: Path, document: str, *overrides: str
) -> subprocess.CompletedProcess[str]:
    """`prewrite evaluate` on the chunks of one document, in `trained`'s neighbour."""
    prefixes = {
        "ordinary": {"set": str(run[0]), "filter": f"doc_id == '{document}'", "cut_points": 2}
    }
    out = trained.parent / "evaluation"
    return command(
        "evaluate",
        f"evaluate.models.trained={trained}/model",
        f"evaluate.prefixes={json.dumps(prefixes)}",
        "evaluate.tokens=8",
        "evaluate.context_tokens=128",
        f"evaluate.output={out}",
        f"evaluate.leaderboard={out}/leaderboard.jsonl",
        "engines.main.args={kv_cache_memory_bytes: 268435456}",
        *overrides,
    )


def test_the_trained_model_meets_its_base(
    run: tuple[Path, str], rows: list[Row], trained: Path
) -> None:
    """On the document that it was not trained on, by the judge that trained it, which is said."""
    done = evaluate(run, trained, rows[-1]["doc_id"])
    assert done.returncode == 0, done.stderr
    out = trained.parent / "evaluation"
    model = "the model models/smollm2-135m-instruct"
    warning = f"warning: {model} judged what trained was trained on"
    assert warning in done.stdout
    assert warning in (out / "table.md").read_text()
    found = json.loads((out / "results/trained.json").read_text())["results"]["ordinary"]
    assert 0 <= found["quality_win_rate,greedy"] <= 1
    assert 0 <= found["safety,sampled"] <= 1
    assert 0 < found["bits_per_byte,none"] < 4  # of 8
    again = evaluate(run, trained, rows[-1]["doc_id"])
    assert "the evaluation is complete" in again.stdout


def test_what_would_say_nothing_is_refused(
    run: tuple[Path, str], rows: list[Row], trained: Path
) -> None:
    """The judge that has trained the model, unless allowed; documents that it has seen."""
    judged = evaluate(run, trained, rows[-1]["doc_id"], "evaluate.same_judge=false", "--dry-run")
    assert judged.returncode == 2
    assert "evaluate.same_judge: true" in judged.stderr
    seen = evaluate(run, trained, rows[0]["doc_id"], "--dry-run")
    assert seen.returncode == 2
    assert "trained was trained on 1 of the 1 documents drawn" in seen.stderr
    none = evaluate(run, trained, "nobody")
    assert none.returncode == 2
    assert "no chunk passes `doc_id == 'nobody'`" in none.stderr
    for done in (judged, seen, none):
        assert "Traceback" not in done.stderr


def test_others_open_it_without_this_project(run: tuple[Path, str], rows: list[Row]) -> None:
    import datasets
    import duckdb
    import pandas
    import polars
    import pyarrow.dataset

    url, ids = str(run[0]), [row["id"] for row in rows]
    loaded = datasets.load_dataset(url, split="train", cache_dir=f"{url}/../cache")
    assert list(loaded["id"]) == ids
    for place in (f"{url}/**/*.parquet", url):
        found = duckdb.connect().execute(f"select id from read_parquet('{place}')").fetchall()
        assert [r[0] for r in found] == ids
    assert list(pandas.read_parquet(url)["id"]) == ids
    assert pq.read_table(url)["id"].to_pylist() == ids
    assert pyarrow.dataset.dataset(url).to_table()["id"].to_pylist() == ids
    for place in (f"{url}/data", f"{url}/**/*.parquet"):
        assert polars.read_parquet(place)["id"].to_list() == ids


@pytest.fixture
def interrupted(tmp_path: Path) -> Iterator[Path]:
    """A run that got SIGINT once it had begun to answer."""
    out = tmp_path / "set"
    arguments = ["--config", RECIPE, f"output={out}", "run.rows_per_part=4"]
    arguments += ["rewrite.sampling.max_tokens=16", "engines.main.concurrency=2", "input.limit=3"]
    arguments += ["run.max_failed=1"]  # 16 tokens are too short for many a chunk
    process = subprocess.Popen(
        [sys.executable, "-m", "prewrite", "rewrite", *arguments], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 240
    while not list((out / "_rewrites" / names.RECORDS).glob("*.json")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "the same command continues" in errors
    yield out


def test_interrupted_and_continued(interrupted: Path) -> None:
    manifest = ShardSet(f"{interrupted}/_rewrites").manifest
    assert manifest.status == "interrupted"
    assert manifest.rows > 0
    done = command(
        "rewrite",
        f"output={interrupted}",
        "run.rows_per_part=4",
        "rewrite.sampling.max_tokens=16",
        "engines.main.concurrency=2",
        "input.limit=3",
        "run.max_failed=1",
        "judge=null",
        f"output={interrupted}/_rewrites",
    )
    assert done.returncode == 0, done.stderr
    rows = list(ShardSet(f"{interrupted}/_rewrites").rows())
    lines = Path("configs/sample/c4.jsonl").read_text().splitlines()[:3]
    assert "".join(r["original"] for r in rows) == "".join(json.loads(x)["text"] for x in lines)
    assert verify(f"{interrupted}/_rewrites")["problems"] == []


MISTAKES: list[tuple[list[str], int, str]] = [
    (["chunking.tokns=64"], 2, "chunking: unknown key 'tokns'; did you mean 'tokens'?"),
    (["rewrite.engine=big"], 2, "rewrite.engine: found 'big'; accepted (see engines): main"),
    (["judge.criteria=[qualty]"], 2, "judge.criteria: found 'qualty'; accepted: coherence"),
    (["rewrite.template=nothing"], 2, "nothing"),
    (
        ["input.paths=[nowhere/*.jsonl]"],
        1,
        "nowhere/*.jsonl: no such file, or a folder or pattern without files",
    ),
    (["engines.main.model=models/none"], 1, "models/none"),
    (
        ["engines.main={kind: endpoint, urls: ['http://127.0.0.1:9/v1'], model: m}"],
        1,
        "the endpoint http://127.0.0.1:9/v1 cannot be reached",
    ),
]


@pytest.mark.parametrize(("overrides", "code", "sentence"), MISTAKES, ids=[m[2] for m in MISTAKES])
def test_a_mistake_is_one_sentence(
    overrides: list[str], code: int, sentence: str, tmp_path: Path
) -> None:
    done = command("rewrite", f"output={tmp_path}/set", *overrides)
    assert done.returncode == code
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("*.parquet")), "something half-written"


def test_dry_run_prints_the_plan_and_writes_nothing(tmp_path: Path) -> None:
    done = command("rewrite", "--dry-run", f"output={tmp_path}/set")
    assert done.returncode == 0
    assert "tokens: 128" in done.stdout
    assert "rewrite 3 files" in done.stdout
    assert not (tmp_path / "set").exists()


def test_no_secret_reaches_the_set(tmp_path: Path) -> None:
    """A key lives in the environment; the configuration knows its name only."""
    environment: dict[str, Any] = {**os.environ, "SOME_KEY": "sk-very-secret"}
    engine = "engines.main={kind: endpoint, urls: ['http://127.0.0.1:9/v1'], model: m, "
    arguments = [engine + "api_key_env: SOME_KEY}", f"output={tmp_path}/set"]
    base = [sys.executable, "-m", "prewrite", "rewrite", "--config", RECIPE]
    for extra in ([], ["--dry-run"]):
        done = subprocess.run(
            [*base, *extra, *arguments],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )
        assert "sk-very-secret" not in done.stdout + done.stderr
    assert "sk-very-secret" not in "".join(
        p.read_text() for p in tmp_path.rglob("*") if p.is_file()
    )
