"""`prewrite evaluate prefixes`: a prefix is kept if every vote was read and says the value."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from prewrite.base.errors import ConfigError, EngineError
from prewrite.engine.types import Completion, Request, Sample
from prewrite.evaluation import unanimous
from prewrite.evaluation.checks import provenances, refuse_trained_on
from prewrite.evaluation.config import EvaluateRecipe, PrefixesConfig
from prewrite.evaluation.cut_points import cut_points_of
from prewrite.evaluation.unanimous import plan, run
from prewrite.judge.judge import Judge
from prewrite.judge.provenance import NAME, Provenance, TrainedOn
from prewrite.shards.reader import ShardSet
from tests.evaluation.sets import make_set
from tests.scripted import Scripted

VOTES = 8


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_set(str(tmp_path_factory.mktemp("held") / "set"), documents=9)


class Votes:
    """Prefixes with an even number of words are unsafe to all, one in three of the others to all
    but one vote; where there are many words, a vote cannot be read.
    """

    def __init__(self) -> None:
        self.mute = False

    def says(self, prompt: str) -> list[str]:
        words = len(prompt.split())
        if self.mute:
            return ["I cannot say."] * VOTES
        if words % 2 == 0:
            return ["Verdict: (B)"] * VOTES
        other = "Verdict: (A)" if words % 3 else "No idea."
        return ["Verdict: (B)"] * (VOTES - 1) + [other]

    def __call__(self, request: Request) -> Completion:
        assert request.sampling.n == VOTES and request.sampling.temperature == 1
        told = self.says("".join(request.prompt.user))
        return Completion(tuple(Sample(text, "stop") for text in told))


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    engine = Scripted(Votes(), primes=False)
    monkeypatch.setattr(unanimous, "probe_judges", lambda *_: None)
    monkeypatch.setattr(
        unanimous, "load_judges", lambda config, *_: [Judge("main", engine, config)]
    )
    yield engine


def recipe(held: str, output: Path, **changed: Any) -> EvaluateRecipe:
    sampling = {"safety": {"votes": VOTES, "temperature": 1, "top_p": 1}}
    judge = {"engine": "main", "criteria": ["quality", "safety"], "readout": "reasoning"}
    section = {
        "models": {"base": "a"},
        "base": "base",
        "engine": "main",
        "judge": judge | {"sampling_by_criterion": sampling},
        "prefixes": {"unsafe": {"prompts": f"{output}/unsafe.jsonl", "criteria": ["safety"]}},
        "unanimous": {"set": held, "output": f"{output}/unsafe.jsonl", "cut_points": 40},
        "context_tokens": 100,
        "output": "out",
    }
    engines = {"main": {"kind": "vllm", "model": "a"}}
    return EvaluateRecipe.model_validate(
        {"output": "x", "engines": engines, "evaluate": section | changed}
    )


def test_only_prefixes_on_which_all_agree_are_kept(
    held: str, tmp_path: Path, engine: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = recipe(held, tmp_path)
    assert "40 prefixes of" in plan(mine) and "8 votes each of main on safety" in plan(mine)
    run(mine)
    kept = [json.loads(line) for line in (tmp_path / "unsafe.jsonl").read_text().splitlines()]
    told = capsys.readouterr().err.replace("\n", " ")
    prompts = engine.prompts
    mute = sum(len(text.split()) % 6 == 3 for text in prompts)
    assert f"{len(kept)} of 40 prefixes" in told and mute > 0
    assert f"; of {mute} a vote could not be read" in told
    assert len(prompts) == 40
    unsafe = [text for text in prompts if len(text.split()) % 2 == 0]
    assert 0 < len(kept) == len(unsafe) < 40
    assert all(any(f">{one['text']}<" in text for text in unsafe) for one in kept)
    assert all(one["original"] and one["doc_id"] for one in kept)

    # The file is what `prompts` takes, and nobody is asked again.
    taken = PrefixesConfig(prompts=f"{tmp_path}/unsafe.jsonl", reference="{original}")
    assert len(cut_points_of({"unsafe": taken}, 100, 0)["unsafe"]) == len(kept)
    run(mine)
    assert len(engine.asked) == 40


def test_an_open_chunk_is_asked_again_and_another_judge_from_the_start(
    held: str, tmp_path: Path, engine: Scripted
) -> None:
    run(recipe(held, tmp_path))
    chunks = sorted(tmp_path.rglob("*.parquet"))
    assert len(chunks) == 2
    before = (tmp_path / "unsafe.jsonl").read_bytes()
    chunks[1].unlink()
    run(recipe(held, tmp_path))
    assert len(engine.asked) == 48 and (tmp_path / "unsafe.jsonl").read_bytes() == before
    run(recipe(held, tmp_path, context_tokens=60))
    assert len(engine.asked) == 88


def test_a_judge_that_says_nothing_leaves_no_file(
    held: str, tmp_path: Path, engine: Scripted
) -> None:
    votes = engine.answer
    assert isinstance(votes, Votes)
    votes.mute = True
    with pytest.raises(EngineError, match="none of 320 votes could be read; the first: unparsab"):
        run(recipe(held, tmp_path))
    assert not (tmp_path / "unsafe.jsonl").exists()


def test_a_file_that_it_has_not_made_is_not_written_over(
    held: str, tmp_path: Path, engine: Scripted
) -> None:
    (tmp_path / "unsafe.jsonl").write_text("mine\n")
    with pytest.raises(ConfigError, match=r"unanimous\.output: found .*, which this command has n"):
        run(recipe(held, tmp_path))
    assert (tmp_path / "unsafe.jsonl").read_text() == "mine\n" and not engine.asked
    inside = {"set": held, "output": f"{held}/unsafe.jsonl"}
    with pytest.raises(ValueError, match=r"inside of evaluate\.unanimous\.set; accepted: a file o"):
        recipe(held, tmp_path, unanimous=inside)


def test_documents_that_a_model_was_trained_on_are_refused(
    held: str, tmp_path: Path, engine: Scripted
) -> None:
    """Before anybody is asked, and once more where the file is evaluated."""
    run(recipe(held, tmp_path))
    known = Provenance(data=[TrainedOn.of("data/train", ShardSet(held).manifest, "chunk == 1")])
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / NAME).write_text(known.model_dump_json())
    mine = recipe(held, tmp_path, models={"base": "a", "own": str(tmp_path / "model")})
    asked = len(engine.asked)
    for command in (plan, run):
        with pytest.raises(ConfigError, match=r"^evaluate\.unanimous\.set: own was trained on \d+"):
            command(mine)
    assert len(engine.asked) == asked

    splits = cut_points_of(mine.evaluate.prefixes, 100, 0)
    of_models = provenances(mine.evaluate.models)
    with pytest.raises(ConfigError, match=r"^evaluate\.prefixes\.unsafe\.prompts: own was trained"):
        refuse_trained_on(mine, splits, of_models)
    section = {"set": str(tmp_path / "gone"), "output": f"{tmp_path}/unsafe.jsonl"}
    refuse_trained_on(recipe(held, tmp_path, unanimous=section), splits, of_models)
    refuse_trained_on(recipe(held, tmp_path, unanimous=None), splits, of_models)


def test_mistakes_have_a_sentence(held: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="evaluate.unanimous: this key is required here"):
        plan(recipe(held, tmp_path, unanimous=None))
    judge = {"engine": "main", "criteria": ["safety"]}
    with pytest.raises(ConfigError, match="readout: found 'distribution'; accepted here: reas"):
        plan(recipe(held, tmp_path, judge=judge))
    section = {"set": held, "output": f"{tmp_path}/unsafe.jsonl"}
    with pytest.raises(ValueError, match=r"unanimous\.criterion: found 'quality'; accepted: po"):
        recipe(held, tmp_path, unanimous=section | {"criterion": "quality"})
    with pytest.raises(ValueError, match=r"unanimous\.criterion: found 'safty'; did you mean"):
        recipe(held, tmp_path, unanimous=section | {"criterion": "safty"})
    with pytest.raises(ConfigError, match=r"value: found 0\.5; accepted with safety, .*: 0, 1$"):
        plan(recipe(held, tmp_path, unanimous=section | {"value": 0.5}))
    with pytest.raises(ConfigError, match=r"evaluate\.unanimous: no chunk passes `chunk > 99`"):
        plan(recipe(held, tmp_path, unanimous=section | {"filter": "chunk > 99"}))
