"""What was stopped anywhere goes on and ends in the same numbers; another configuration does not.

The models are scripted: nothing real stops at every point on demand.
"""

import json
import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import prewrite.evaluation.chunks
import prewrite.evaluation.run
import prewrite.evaluation.writing
from prewrite.base.errors import ConfigError, EngineError, InputError, PrewriteError, ShardError
from prewrite.base.files import Folder
from prewrite.evaluation import chunks
from prewrite.evaluation import run as running
from prewrite.evaluation.chunks import read_rows, write_rows
from prewrite.evaluation.config import EvaluateRecipe
from prewrite.evaluation.judging import SCHEMA
from prewrite.evaluation.run import run
from prewrite.shards.reader import ShardSet
from tests.evaluation.scripted import Died, Model
from tests.evaluation.sets import make_set


class Clock:
    """Counts answers; raises at the one that is the last. broken: no verdict can be read."""

    def __init__(self) -> None:
        self.last, self.count, self.broken = 10**9, count(1), False

    def __call__(self) -> None:
        if next(self.count) >= self.last:
            raise Died


@pytest.fixture(scope="module")
def clock() -> Iterator[Clock]:
    """Models and verdicts pass through it; a chunk has three places."""
    clock = Clock()

    def words(context: str, reference: str, candidate: str) -> float:
        clock()
        if clock.broken:
            raise ValueError("no such word")
        return len(candidate) % 10 / 10

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            prewrite.evaluation.writing, "VllmEngine", lambda config: Model(config, clock)
        )
        patch.setattr(running, "probe", lambda engine: None)
        patch.setattr(chunks, "CUT_POINTS", 3)
        patch.setattr("tests.evaluation.sets.words", words, raising=False)
        yield clock


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set, a criterion."""
    folder = tmp_path_factory.mktemp("resume")
    make_set(str(folder / "set"))
    (folder / "words.yaml").write_text(
        "{name: words, version: 1, kind: python, function: tests.evaluation.sets:words}"
    )
    return folder


def recipe(folder: Path, output: Path, **changed: Any) -> EvaluateRecipe:
    section = {
        "models": {"base": "a", "other": "b"},
        "base": "base",
        "engine": "main",
        "judge": {"engine": "main", "criteria": [str(folder / "words.yaml")]},
        "prefixes": {
            "one": {"set": str(folder / "set"), "filter": "source == 'c4'", "cut_points": 7},
            "two": {"set": str(folder / "set"), "filter": "source != 'c4'", "cut_points": 4},
        },
        "tokens": 40,
        "sampled": {"continuations": 2},
        "output": str(output),
        "leaderboard": str(output / "leaderboard.jsonl"),
    }
    engines = {"main": {"kind": "vllm", "model": "a"}}
    return EvaluateRecipe.model_validate(
        {"output": "x", "engines": engines, "evaluate": section | changed}
    )


def numbers(output: Path) -> dict[str, Any]:
    return {
        path.stem: json.loads(path.read_text())["results"]
        for path in sorted((output / "results").glob("*.json"))
    }


@pytest.fixture(scope="module")
def whole(folder: Path, clock: Clock) -> Path:
    """An evaluation that nothing stopped."""
    run(recipe(folder, folder / "whole"))
    return folder / "whole"


@given(stops=st.lists(st.integers(1, 60), min_size=1, max_size=4))
@settings(
    max_examples=8,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_it_goes_on_from_anywhere_to_the_same_numbers(
    folder: Path, whole: Path, clock: Clock, stops: list[int]
) -> None:
    output = folder / "stopped"
    shutil.rmtree(output, ignore_errors=True)
    for after in stops:
        clock.last, clock.count = after, count(1)
        try:
            run(recipe(folder, output))
        except Died:
            files = {path: path.stat().st_mtime_ns for path in output.rglob("*-*.parquet")}
        else:
            files = {}
        clock.last = 10**9
    run(recipe(folder, output))
    assert all(path.stat().st_mtime_ns == before for path, before in files.items())
    assert numbers(output) == numbers(whole)
    assert (output / "table.md").read_text() == (whole / "table.md").read_text()


def test_a_finished_one_says_so(
    folder: Path, whole: Path, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    clock.count = count(1)
    run(recipe(folder, whole))
    assert "the evaluation is complete; nothing to do" in capsys.readouterr().out
    assert next(clock.count) == 1, "nobody was asked"


def test_one_model_more_costs_that_model(folder: Path, whole: Path, clock: Clock) -> None:
    output = folder / "more"
    shutil.copytree(whole, output)
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*-*.parquet")}
    models = {"base": "a", "other": "b", "twin": "a"}
    run(recipe(folder, output, models=models))
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    found = numbers(output)
    assert found.keys() == models.keys()
    assert found["other"] == numbers(whole)["other"]
    assert found["twin"]["one"]["words,greedy"] == found["base"]["one"]["words,greedy"]
    assert found["twin"]["one"]["difference_words,sampled"] == 0


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"tokens": 41}, "evaluate.tokens: 40 → 41"),
        ({"seed": 1}, "evaluate.seed: 0 → 1"),
        ({"models": {"base": "a", "other": "c"}}, r'evaluate.models.other.model: "b" → "c"'),
        ({"base": "other"}, 'evaluate.base: "base" → "other"'),
    ],
)
def test_another_configuration_is_refused(
    folder: Path, whole: Path, changed: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        run(recipe(folder, whole, **changed))


def test_another_generation_of_the_texts_is_refused(folder: Path, whole: Path) -> None:
    output, manifest = folder / "first", ShardSet(str(folder / "set")).manifest
    shutil.copytree(whole, output)
    state = json.loads((output / "evaluation.json").read_text())
    for prefix in state["config"]["prefixes"].values():
        del prefix["generation"]  # as before there were any
    (output / "evaluation.json").write_text(json.dumps(state))
    run(recipe(folder, output))
    try:
        manifest.model_copy(update={"generation": 2}).save(Folder(str(folder / "set")))
        with pytest.raises(ConfigError, match=r"evaluate\.prefixes\.one\.generation: 1 → 2"):
            run(recipe(folder, output))
    finally:
        manifest.save(Folder(str(folder / "set")))


def test_what_is_damaged_is_told(folder: Path, whole: Path) -> None:
    output = folder / "damaged"
    shutil.copytree(whole, output)
    state = json.loads((output / "evaluation.json").read_text())
    (output / "evaluation.json").write_text(json.dumps(state | {"complete": []}))
    (output / "scores/other/one-00001.parquet").write_bytes(b"PAR1")
    with pytest.raises(PrewriteError, match=r"other/one-00001.parquet: damaged: .*; remove it$"):
        run(recipe(folder, output))
    (output / "evaluation.json").write_text("{")
    with pytest.raises(InputError, match="evaluation.json: damaged"):
        run(recipe(folder, output))


def test_no_bit_of_a_chunk_passes_in_silence(tmp_path: Path) -> None:
    """A bit of each byte before the footer; without the checksums of pages other rows are read."""
    row = {"split": "one", "decoding": "greedy", "number": 0, "doc_id": "d", "criterion": "quality"}
    rows = [{**row, "id": f"r{n}", "score": 1 / (n + 3), "consistency": 1.0} for n in range(9)]
    folder, path = Folder(str(tmp_path)), tmp_path / "of/0.parquet"
    path.parent.mkdir()
    write_rows(folder, "of/0", rows, SCHEMA)
    good, data = read_rows(folder, "of", [("0", [])]), path.read_bytes()
    footer, said, draw = int.from_bytes(data[-8:-4], "little") + 8, 0, Random(2)
    for at in range(len(data) - footer):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1 << draw.randrange(8)]) + data[at + 1 :])
        try:
            assert read_rows(folder, "of", [("0", [])]) == good, f"byte {at}"
        except ShardError as error:
            assert "damaged: " in str(error)
            said += 1
    assert said > 100


def test_a_judge_of_whom_nothing_can_be_read_ends_it_and_is_asked_again(
    folder: Path, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = recipe(folder, tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(clock, "broken", True)
        for _ in range(2):
            with pytest.raises(EngineError, match=r"evaluate: base: of 33 .*words: .*no such word"):
                run(mine)
    assert not (tmp_path / "out/results").exists()
    run(mine)
    assert len(list((tmp_path / "out/results").glob("*.json"))) == 2
