"""The plan's forecast against a real run at the same endpoint, and what it may not do."""

import asyncio
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prewrite.base.config import load
from prewrite.engine.types import Completion, Prompt, Request, Sampling
from prewrite.rewrite.command import run
from prewrite.rewrite.config import RewriteRecipe
from prewrite.rewrite.corpus import Corpus
from prewrite.rewrite.meter import Meter
from prewrite.rewrite.plan import make_plan
from prewrite.rewrite.sample import FIELDS, read
from prewrite.shards.reader import ShardSet
from tests.commands import plan as main
from tests.engine.fault_server import Call, Fault, FaultServer
from tests.pipeline.runs import corpus_lines, recipe
from tests.scripted import Scripted, said


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


def written(folder: Path, server: FaultServer, files: int, documents: int, **run: Any) -> Path:
    """A recipe over `files` files of as many documents."""
    (folder / "in").mkdir()
    for number in range(files):
        (folder / f"in/{number:03d}.jsonl").write_bytes(corpus_lines(number, documents))
    path = folder / "recipe.yaml"
    path.write_text(recipe(f"{folder}/in", f"{folder}/set", server.url, judge=True, **run))
    return path


def test_of_a_corpus_read_whole_the_forecast_is_exact(tmp_path: Path, server: FaultServer) -> None:
    config = load(RewriteRecipe, str(written(tmp_path, server, 2, 6)))
    plan = make_plan(config, seconds=60)
    assert plan.sample.whole and plan.documents == 12 and not plan.failed
    asked = len(server.calls)
    assert plan.requests == asked
    assert not (tmp_path / "set").exists()
    server.calls.clear()
    run(config)
    assert len(server.calls) == asked
    manifest = ShardSet(f"{tmp_path}/set").manifest
    figures = {name: likely for name, (likely, _, _) in plan.forecast.items()}
    assert figures["rows"] == manifest.rows and figures["documents"] == manifest.documents
    for made in manifest.passes:
        assert figures[f"{made.name}: prompt tokens"] == pytest.approx(made.usage.prompt_tokens)
        assert figures[f"{made.name}: output tokens"] == pytest.approx(made.usage.output_tokens)
        assert f"{made.name}: cached tokens" not in figures, "this endpoint does not tell"
    sets = [ShardSet(f"{tmp_path}/{name}") for name in ("set", "set/_rewrites")]
    parts = [part for one in sets for part in (*one.parts, *one.verdicts)]
    size = sum({part.file: part.file_bytes for part in parts}.values())
    # A footer is counted for each part, and merged parts share one: much, for so few rows.
    assert figures["output bytes"] == pytest.approx(size, rel=0.25)
    exact = ("documents", "rows", "original tokens", "judge: output tokens")
    assert all(len(set(plan.forecast[name])) == 1 for name in exact)


def test_a_part_of_the_corpus_speaks_for_the_whole(tmp_path: Path, server: FaultServer) -> None:
    """More files than are read, and no time for all documents of those."""
    config = load(RewriteRecipe, str(written(tmp_path, server, 40, 5)))
    server.plan = lambda call: Fault(seconds=0.01)
    plan = make_plan(config, seconds=0.5)
    assert not plan.sample.whole and 0 < plan.documents < 160
    server.plan = None
    run(config)
    manifest = ShardSet(f"{tmp_path}/set").manifest
    likely, low, high = plan.forecast["rows"]
    assert low <= manifest.rows <= high and low < high
    assert likely == pytest.approx(manifest.rows, rel=0.05)
    made = manifest.passes[-1].usage.requests
    assert plan.forecast["judge: output tokens"][0] == pytest.approx(4 * made, rel=0.05)


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz"])
def test_a_file_read_in_part_is_scaled_by_its_bytes(suffix: str, tmp_path: Path) -> None:
    """Offsets move on in steps of the reader's buffer; the share read is still right."""
    numbers = np.random.default_rng(0)
    texts = [" ".join(map(str, numbers.integers(0, 10**6, 60))) for _ in range(40_000)]
    data = "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(gzip.compress(data) if suffix.endswith("gz") else data)
    sections = load(
        RewriteRecipe, "configs/quickstart.yaml", [f"input.paths=['{path}']", "chunking.tokens=64"]
    )
    sample = read(Corpus(sections.input, sections.chunking))
    assert not sample.whole and len(sample.parts[0].counts) < 20_000
    found = dict(zip(FIELDS, sample.total(), strict=True))
    assert found["documents"] == pytest.approx(40_000, rel=0.05)
    draws = [sample.total(np.random.default_rng(seed))[0] for seed in range(20)]
    assert len(set(draws)) == 1, "every record is a document"


def test_failed_requests_are_told(
    tmp_path: Path, server: FaultServer, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, server, 1, 4)

    def refused(call: Call) -> Fault | None:
        return Fault(400) if "Document 2 " in call.text else None

    server.plan = refused
    assert main(["--config", str(path), "input.limit=4"]) == 0
    out = capsys.readouterr().out
    assert "of the requests failed" in out and "GPU-hours of an endpoint are not counted" in out
    assert "all of the corpus was read" in out


def test_ids_that_are_replaced_are_told(
    tmp_path: Path, server: FaultServer, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, server, 1, 0)
    texts = [json.dumps({"text": f"The fox ran {n} miles.", "id": "d"}) for n in range(4)]
    (tmp_path / "in/000.jsonl").write_text("\n".join(texts))
    assert main(["--config", str(path)]) == 0
    assert "\n3 ids replaced: duplicate\n" in capsys.readouterr().out


@pytest.mark.parametrize("stage", ["rewrite", "judge"])
def test_a_run_that_would_end_for_what_failed_is_not_forecast(
    tmp_path: Path, server: FaultServer, capsys: pytest.CaptureFixture[str], stage: str
) -> None:
    path = written(tmp_path, server, 1, 2)

    def refused(call: Call) -> Fault | None:
        asked = "judge" if call.body.get("logprobs") else "rewrite"
        return Fault(400) if asked == stage and call.number else None

    server.plan = refused
    assert main(["--config", str(path), "run.max_failed=0.5"]) == 1
    out, err = capsys.readouterr()
    assert "a whole run" not in out
    assert f"error: {stage}: " in err and "engine: HTTP 400: scripted 400" in err


@pytest.mark.parametrize(
    ("override", "code", "sentence"),
    [
        ("input.paths=[nowhere]", 1, "nowhere: no such file"),
        ("engines.main.urls=['http://127.0.0.1:9/v1']", 1, "cannot be reached"),
        ("judge.criteria=[none]", 2, "judge.criteria: found 'none'"),
    ],
)
def test_a_mistake_is_one_sentence(
    override: str,
    code: int,
    sentence: str,
    tmp_path: Path,
    server: FaultServer,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = written(tmp_path, server, 1, 2)
    assert main(["--config", str(path), override]) == code
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1 and sentence in errors[0]


def measured(ended: list[tuple[float, int]], concurrency: int) -> Meter:
    engine = Scripted(lambda request: said("yes"), concurrency=concurrency)
    return Meter(engine, ended=ended)


def test_a_speed_counts_what_is_under_way() -> None:
    """Four at a time, each for 1 s, seen until 3.5 s: three waves ended, half of one under way."""
    waves = [(float(second), 8) for second in (1, 2, 3) for _ in range(4)]
    speed = measured([*waves, (3.5, 8)], 4).speed
    assert (speed.low, speed.high) == (13 / 3.5, 17 / 3.5)
    assert speed.likely == pytest.approx((13 + 3 * 0.5) / 3.5, rel=0.05)


def test_only_the_time_of_a_full_engine_counts() -> None:
    draining = [(10.0, 3), (20.0, 2), (30.0, 1)]
    assert measured([(1.0, 4), (2.0, 4), *draining], 4).speed.low == 1.0
    alone = measured(draining, 4).speed
    assert alone.low == alone.high == 0.1


def test_a_meter_hands_on_what_it_is_asked() -> None:
    engine = Scripted(lambda request: said("yes"))
    meter = Meter(engine)

    async def ask() -> tuple[Completion, Completion]:
        request = Request(Prompt(("a",)), Sampling(1))
        return await meter.complete(request), await meter.likelihood(("a",), "b")

    answers = asyncio.run(ask())
    assert answers == (said("yes"), said("yes")) and len(engine.asked) == 1
    assert [open_ for _, open_ in meter.ended] == [1, 1] and meter.open == 0


@pytest.mark.slow
def test_the_engine_in_the_process_is_measured(tmp_path: Path) -> None:
    """One short document, the real engine: both stages take time, and the cache is told."""
    record = {"text": "The river carries water from the hills down to the sea. " * 12}
    (tmp_path / "a.jsonl").write_text(json.dumps(record) + "\n")
    changes = [f"input.paths=['{tmp_path}/a.jsonl']", f"output={tmp_path}/set"]
    changes += ["chunking.tokens=64", "rewrite.sampling.max_tokens=16"]
    changes += ["rewrite.length.min=0", "judge.criteria=[safety]", "run.max_failed=1"]
    plan = make_plan(load(RewriteRecipe, "configs/quickstart.yaml", changes), seconds=1)
    figures = {name: likely for name, (likely, _, _) in plan.forecast.items()}
    assert plan.documents == figures["documents"] == 1 and not plan.failed
    assert plan.requests >= figures["rows"] > 1
    assert figures["hours"] > 0 and figures["judge: prompt tokens"] > figures["original tokens"]
    assert 0 <= figures["rewrite: cached tokens"] < figures["rewrite: prompt tokens"]
