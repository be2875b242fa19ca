"""What looks better and is not is refused by the guard that names it; real commands leave the
evidence, of judges, rewriters and policies that do one thing wrong.
"""

import asyncio
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

import prewrite.evaluation.writing
from prewrite.base.errors import InputError
from prewrite.engine.types import Completion, Request, Sample
from prewrite.evaluation import run as evaluation
from prewrite.evaluation.config import EvaluateRecipe
from prewrite.evaluation.improve.evidence import read_evidence
from prewrite.evaluation.improve.gate import Decision, decide
from prewrite.evaluation.improve.guards import PartName
from prewrite.judge.measure.build import build
from prewrite.pipeline.passes import Document
from prewrite.rewrite.config import RewriteRecipe
from prewrite.rewrite.rewriter import Rewriter
from prewrite.shards.schema import Row
from tests.evaluation.scripted import Model
from tests.judge.measure.simulated import Opinion, judging, pairs, truth
from tests.scripted import Scripted, said
from tests.shards.making import write_set

DOCUMENTS, COMPARISONS, GAIN = 100, 9, 0.2
WORDS = [
    *("apple", "bread", "chair", "daisy", "eagle", "farmer"),
    *("garden", "house", "island", "jacket", "kettle", "ladder"),
]
RUDE = "blasted"


def decided(part: PartName, candidate: Path, incumbent: Path) -> Decision:
    own, before = (read_evidence(part, str(one)) for one in (candidate, incumbent))
    return decide(part, own, before, COMPARISONS, GAIN)


def judged(folder: Path, opinion: Opinion) -> Path:
    """What a judge report leaves."""
    found = asyncio.run(build([judging(opinion)], pairs(DOCUMENTS), "pairs", {}))
    (folder / "report").mkdir(parents=True)
    (folder / "report/report.json").write_text(json.dumps(found.as_json()))
    return folder


def guessing(right: float, by: Callable[..., float] = truth) -> Opinion:
    """A judge that is right so often, by the number of the pair, and else says the opposite."""

    def opinion(question: object) -> list[float]:
        row = question.pool.row_id  # type: ignore[attr-defined]
        value = truth(question)  # type: ignore[arg-type]
        return [value if random.Random(row).random() < right else 1 - value]

    return opinion


def test_a_judge_that_got_better_passes(tmp_path: Path) -> None:
    before, after = judged(tmp_path / "a", guessing(0.4)), judged(tmp_path / "b", guessing(0.95))
    assert decided("judge", after, before).outcome == "passed"
    assert decided("judge", before, before).reasons[0].startswith("gain: ")


def test_a_judge_that_prefers_length_is_refused_by_the_length(tmp_path: Path) -> None:
    def longer(question: object) -> list[float]:
        texts = question.pool.candidates  # type: ignore[attr-defined]
        mine = len(texts["first"]) > len(texts["second"])
        return [float(mine != bool(question.order))]  # type: ignore[attr-defined]

    before = judged(tmp_path / "a", guessing(0.1))
    found = decided("judge", judged(tmp_path / "b", longer), before)
    assert found.gain > 0 and found.outcome == "guard"
    assert [one.partition(":")[0] for one in found.reasons] == ["length"]


def test_a_judge_that_takes_the_first_is_refused_by_that(tmp_path: Path) -> None:
    before = judged(tmp_path / "a", guessing(0.1))
    found = decided("judge", judged(tmp_path / "b", lambda _: [1.0]), before)
    assert found.reasons[0].startswith("p_first: found 1; accepted: 0.48 to 0.52")


def test_a_verdict_that_cannot_be_read_is_wrong(tmp_path: Path) -> None:
    found = read_evidence("judge", str(judged(tmp_path / "a", lambda _: [None])))
    assert set(found.scores.values()) == {0.0} and len(found.scores) == DOCUMENTS


def texts() -> list[str]:
    """Half of them with a rude word."""
    draw, found = random.Random(1), []
    for number in range(DOCUMENTS):
        words = draw.sample(WORDS, 8)
        found.append(" ".join(words[:4] + [RUDE] * (number % 2) + words[4:]))
    return found


def rewritten(folder: Path, answer: Callable[[str], str]) -> Path:
    """The set of a rewriter, as the rewrite pass makes it, judged by who likes texts without rude
    words.
    """
    recipe = RewriteRecipe.model_validate(
        {
            "input": {"paths": ["a"]},
            "output": "out",
            "chunking": {"tokenizer": "t", "tokens": 64},
            "engines": {"e": {"kind": "vllm", "model": "m"}},
            "rewrite": {"engine": "e"},
        }
    )
    rows = [asyncio.run(_rewritten(recipe, n, text, answer)) for n, text in enumerate(texts())]
    write_set(str(folder), [rows], criteria=["decent"])
    return folder


async def _rewritten(
    recipe: RewriteRecipe, number: int, text: str, answer: Callable[[str], str]
) -> Row:
    name = f"d{number}"
    bare = {"id": name, "doc_id": name, "source": "web", "chunk": 0, "chunks": 1, "meta": "{}",
            "original": text, "original_tokens": 12, "rewrite": None,
            "rewrite_status": None}  # fmt: skip
    engine = Scripted(lambda _: said(answer(text)))
    found = await Rewriter({"e": engine}, recipe)(Document([bare], 0))
    (row,) = found.rows
    scores = {f"{one}_decent": one_of(row[one]) for one in ("original", "rewrite")}
    own = {"original_score": scores["original_decent"], "rewrite_score": scores["rewrite_decent"]}
    return {**row, **scores, **own, "best": None}


def one_of(text: str | None) -> float | None:
    return None if text is None else float(RUDE not in text)


def mended(text: str) -> str:
    """Without rude words, in other words."""
    words = [word for word in text.split() if word != RUDE]
    return " ".join([*words[:6], "window", *words[7:]])


def sloppy(text: str) -> str:
    """Mended where the text begins with an early letter, else left as it is, with another word."""
    left = text if text[0] > "c" else mended(text)
    return " ".join([*left.split()[:-1], "violin"])


def test_a_rewriter_that_mends_passes(tmp_path: Path) -> None:
    before, after = rewritten(tmp_path / "a", sloppy), rewritten(tmp_path / "b", mended)
    assert decided("rewriter", after, before).outcome == "passed"


def test_a_rewriter_that_copies_everything_is_refused_by_the_overlap(tmp_path: Path) -> None:
    before = rewritten(tmp_path / "a", lambda text: sloppy(f"{RUDE} {text}"))
    found = decided("rewriter", rewritten(tmp_path / "b", lambda text: text), before)
    assert found.outcome == "guard"
    assert found.reasons[0].startswith("overlap: found 1; accepted: 0.2 to 0.95")


def test_a_rewriter_that_refuses_is_refused_by_that(tmp_path: Path) -> None:
    def refuses(text: str) -> str:
        return "I'm sorry, but I can't help with that." if RUDE in text else mended(text)

    before, after = rewritten(tmp_path / "a", sloppy), rewritten(tmp_path / "b", refuses)
    found = decided("rewriter", after, before)
    assert any(one.startswith("refusals: found 0.5; accepted: at most ") for one in found.reasons)
    assert found.candidate == 0.5  # what has no usable rewrite is worth nothing


def test_a_set_without_scores_is_refused(tmp_path: Path) -> None:
    write_set(str(tmp_path / "a"), [[]])
    with pytest.raises(InputError, match="found a set without scores; accepted: one that was"):
        read_evidence("rewriter", str(tmp_path / "a"))


class Author(Model):
    """Writes eight words that depend on the prompt; `repeats`: one of them again and again."""

    async def complete(self, request: Request) -> Completion:
        draw = random.Random(repr((request.prompt.tokens, request.sampling.seed)))
        words = draw.sample(WORDS, 8)
        if self._name == "repeats":
            words = [WORDS[0]] * 8
        if self._name == "base":
            words[draw.randrange(6)] = RUDE
        text = " " + " ".join(words)
        samples = tuple(
            Sample(text, "length", tuple(text.encode())) for _ in range(request.sampling.n)
        )
        return Completion(samples)


def continued(folder: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The evaluation of a policy beside a base that is rude half of the time."""
    monkeypatch.setattr(prewrite.evaluation.writing, "VllmEngine", Author)
    monkeypatch.setattr(evaluation, "probe", lambda engine: None)
    monkeypatch.setattr("tests.evaluation.sets.words", decent, raising=False)
    held = folder.parent / "held"
    if not held.exists():
        write_set(str(held), [[row for n, text in enumerate(texts()) for row in _chunks(n, text)]])
    criterion = folder.parent / "decent.yaml"
    criterion.write_text(
        "{name: decent, version: 1, kind: python, function: tests.evaluation.sets:words}"
    )
    section = {
        "models": {"base": "base", "measured": model},
        "base": "base",
        "engine": "main",
        "judge": {"engine": "main", "criteria": [str(criterion)]},
        "prefixes": {"held": {"set": str(held)}},
        "tokens": 80,
        "output": str(folder),
        "leaderboard": str(folder / "leaderboard.jsonl"),
    }
    recipe = {"output": "x", "engines": {"main": {"kind": "vllm", "model": "a"}},
              "evaluate": section}  # fmt: skip
    evaluation.run(EvaluateRecipe.model_validate(recipe))
    return folder


def decent(context: str, reference: str, candidate: str) -> float:
    return float(RUDE not in candidate)


def _chunks(number: int, text: str) -> list[Row]:
    words = text.split()
    halves = [" ".join(words[:3]), " " + " ".join(words[3:])]
    return [
        {"id": f"d{number}-{chunk}", "doc_id": f"d{number}", "source": "web", "chunk": chunk,
         "chunks": 2, "original": half, "original_tokens": 5, "rewrite": None,
         "rewrite_status": "empty", "meta": "{}"}
        for chunk, half in enumerate(halves)
    ]  # fmt: skip


def test_a_policy_that_repeats_is_refused_by_the_repetition(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = continued(tmp_path / "a", "base", monkeypatch)
    fine = decided("policy", continued(tmp_path / "b", "better", monkeypatch), before)
    assert fine.outcome == "passed", fine.reasons
    assert {one.name for one in fine.guards if one.incumbent is None} == set()
    found = decided("policy", continued(tmp_path / "c", "repeats", monkeypatch), before)
    assert found.low > 0 and found.outcome == "guard"
    assert [one.partition(":")[0] for one in found.reasons] == ["repetition", "distinct_4"]


def test_an_evaluation_of_other_models_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = continued(tmp_path / "a", "better", monkeypatch)
    state = json.loads((folder / "evaluation.json").read_text())
    (folder / "evaluation.json").write_text(json.dumps(state | {"models": {"base": {}}}))
    with pytest.raises(InputError, match="accepted: the base, and the one that is measured"):
        read_evidence("policy", str(folder))
    with pytest.raises(InputError, match="evaluation.json: found nothing; accepted: what"):
        read_evidence("policy", str(tmp_path / "nowhere"))
