"""Holes in what a judge has said are filled; what it has said stays to the last bit."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from prewrite.engine.types import Completion, Request, Sample
from prewrite.judge.config import JudgeConfig
from prewrite.judge.judge import Judge
from prewrite.judge.retry import AgainScorer, Judged
from prewrite.judge.scorer import RowScorer
from prewrite.pipeline.passes import Document, DocumentResult
from prewrite.shards.manifest import Usage
from prewrite.shards.schema import Row
from tests.judge.test_scorer import row
from tests.scripted import Scripted, said

Answer = Callable[[Request], Completion]


def uneven(request: Request) -> Completion:
    """No number here has a short form in binary."""
    text = "".join(request.prompt.user)
    share = 0.1 + 0.8 * (sum(text.encode()) % 97) / 97
    first, second, *_ = [*request.sampling.verdicts, "", ""]
    return said("", "stop", **{first: 0.9 * share, second: 0.9 * (1 - share)})


def reasons(request: Request) -> Completion:
    """Votes that differ."""
    texts = [f"I think.\nVerdict: ({'AB'[n % 2]})" for n in range(request.sampling.n)]
    return Completion(tuple(Sample(text, "stop") for text in texts), 10, 4, 3)


def stored(outcome: DocumentResult) -> None:
    """What Parquet does to numbers."""
    for found in (*outcome.rows, *outcome.judgements):
        for key, value in found.items():
            if isinstance(value, float):
                found[key] = float(np.float32(value))


def config_of(**config: Any) -> JudgeConfig:
    return JudgeConfig.model_validate({"engine": "e"} | config)


def first(answer: Answer, *rows: Row, config: JudgeConfig) -> DocumentResult:
    """What a first run leaves in a set."""
    judges = [Judge(name, Scripted(answer), config) for name in config.panel]
    outcome = asyncio.run(RowScorer(judges, config)(Document([dict(one) for one in rows], 0)))
    stored(outcome)
    return outcome


def again(
    answer: Answer,
    earlier: DocumentResult,
    config: JudgeConfig,
    generation: int = 2,
    **changes: Any,
) -> tuple[DocumentResult, Scripted]:
    """The same rows once more."""
    engine = Scripted(answer)
    judges = [Judge(name, engine, config) for name in config.panel]
    document = Judged(
        [dict(one) for one in changes.pop("rows", earlier.rows)],
        0,
        [v for v in earlier.judgements if v["status"] == "ok"],
        **changes,
    )
    outcome = asyncio.run(AgainScorer(judges, config, generation)(document))
    stored(outcome)
    return outcome, engine


def key(verdict: Row) -> tuple[Any, ...]:
    names = ("id", "judge", "criterion", "candidate", "opponent", "order", "vote")
    return tuple(verdict[name] for name in names)


def kept(earlier: DocumentResult, later: DocumentResult) -> None:
    """Verdicts and scores that were there are the same, to the last bit."""
    found = {key(verdict): verdict for verdict in later.judgements}
    assert len(found) == len(later.judgements)
    for verdict in earlier.judgements:
        if verdict["status"] == "ok":
            assert found[key(verdict)] == verdict
    for old, new in zip(earlier.rows, later.rows, strict=True):
        for name, value in old.items():
            if value is not None and not name.endswith(("consistency", "disagreement")):
                assert (name, new[name]) == (name, value)


ROWS = [row(0, "a bad one", "a GOOD one"), row(1, "next", "NEXT"), row(2, "last", None, "refused")]


def failing(marks: dict[str, str], by: Answer = uneven) -> Answer:
    """Fails where a prompt has a mark of a criterion and a text."""

    def answer(request: Request) -> Completion:
        text = "".join(request.prompt.user)
        if any(mark in text and words in text for mark, words in marks.items()):
            return Completion(error="HTTP 500")
        return by(request)

    return answer


SAFETY, FACTUALITY, QUALITY = "safe to learn from", "hallucination", "<first>"


@pytest.mark.parametrize(
    ("marks", "count"),
    [
        ({SAFETY: "<passage>a GOOD one"}, 1),
        ({QUALITY: "<second>a GOOD one"}, 1),
        ({QUALITY: "<first>next"}, 1),
        ({SAFETY: "last"}, 1),
        ({SAFETY: "passage", FACTUALITY: "passage", QUALITY: "first"}, 14),
    ],
)
def test_failed_verdicts_alone_are_asked(marks: dict[str, str], count: int) -> None:
    config = config_of()
    earlier = first(failing(marks), *ROWS, config=config)
    assert Counter(v["status"] for v in earlier.judgements)["failed"] == count
    later, engine = again(uneven, earlier, config)
    assert len(engine.asked) == later.usage.requests == count
    kept(earlier, later)
    whole = first(uneven, *ROWS, config=config)
    assert [key(v) for v in later.judgements] == [key(v) for v in whole.judgements]
    assert later.counts == whole.counts
    for found, expected in zip(later.rows, whole.rows, strict=True):
        assert found == pytest.approx(expected, abs=1e-6)


def test_nothing_is_asked_and_nothing_changes_where_all_is_known() -> None:
    config = config_of()
    earlier = first(uneven, *ROWS, config=config)
    later, engine = again(uneven, earlier, config)
    assert not engine.asked and later.usage == Usage()
    assert (later.rows, later.judgements) == (earlier.rows, earlier.judgements)
    assert later.counts == earlier.counts


def test_what_fails_again_says_why() -> None:
    config = config_of(criteria=["safety"])
    earlier = first(failing({SAFETY: "next"}), *ROWS, config=config)
    later, _ = again(lambda _: Completion(error="HTTP 503"), earlier, config)
    assert {v["answer"] for v in later.judgements if v["status"] == "failed"} == {"HTTP 503"}
    assert later.counts == earlier.counts
    assert later.rows == earlier.rows


def test_of_some_votes_the_missing_ones_are_asked() -> None:
    """With their numbers, and another seed in each generation."""
    config = config_of(criteria=["safety"], readout="reasoning", sampling={"reasks": 0})

    def unclear(request: Request) -> Completion:
        samples = list(reasons(request).samples)
        samples[1] = samples[3] = Sample("who knows", "stop")
        return Completion(tuple(samples), 10, 4, 3)

    earlier = first(unclear, ROWS[0], config=config)
    assert Counter(v["status"] for v in earlier.judgements) == {"ok": 6, "unparsable": 4}
    seeds = list[int | None]()
    for generation in (2, 3):
        later, engine = again(reasons, earlier, config, generation)
        assert [request.sampling.n for request in engine.asked] == [2, 2]
        seeds += {request.sampling.seed for request in engine.asked}
        kept_votes = {key(v): v for v in earlier.judgements if v["status"] == "ok"}
        found = {key(v): v for v in later.judgements}
        assert {one: found[one] for one in kept_votes} == kept_votes
        assert [v["vote"] for v in later.judgements] == [0, 1, 2, 3, 4] * 2
        # Kept are votes for A; of two new ones one is for B.
        assert later.rows[0]["original_safety"] == pytest.approx(4 / 5)
    assert len({*seeds, config.sampling.seed}) == 3


@pytest.mark.parametrize(("unread", "asked"), [((4,), 1), ((1, 2, 4), 5)])
def test_where_too_few_votes_could_be_read_all_are_asked(
    unread: tuple[int, ...], asked: int
) -> None:
    """Of five votes three are needed; where four could be read, one is missing."""
    config = config_of(
        criteria=["safety"], readout="reasoning", sampling={"reasks": 0}, min_votes=3
    )

    def unclear(request: Request) -> Completion:
        samples = list(reasons(request).samples)
        for number in unread:
            samples[number] = Sample("who knows", "stop")
        return Completion(tuple(samples), 10, 4, 3)

    earlier = first(unclear, ROWS[2], config=config)
    enough = len(unread) == 1
    assert (earlier.rows[0]["original_safety"] is not None) == enough
    assert earlier.counts["verdict:too_few"] == (0 if enough else 2)
    later, engine = again(reasons, earlier, config)
    assert [request.sampling.n for request in engine.asked] == [asked]
    assert later.counts["verdict:ok"] == 5 and later.rows[0]["original_safety"] is not None
    still, _ = again(lambda _: said("Hm."), earlier, config)
    assert (still.rows[0]["original_safety"] is not None) == enough


def test_a_question_without_any_answer_is_asked_for_all_votes() -> None:
    config = config_of(criteria=["safety"], readout="reasoning", sampling={"votes": 3})
    earlier = first(failing({SAFETY: "GOOD"}, reasons), ROWS[0], config=config)
    assert [v["status"] for v in earlier.judgements] == ["ok"] * 3 + ["failed"]
    later, engine = again(reasons, earlier, config)
    assert [request.sampling.n for request in engine.asked] == [3]
    assert [v["vote"] for v in later.judgements] == [0, 1, 2] * 2
    kept(earlier, later)


def test_of_a_panel_only_the_judge_is_asked_who_has_failed() -> None:
    config = config_of(engine=["a", "b"], criteria=["safety", "quality"])
    judges = [
        Judge("a", Scripted(uneven), config),
        Judge("b", Scripted(failing({SAFETY: "GOOD"})), config),
    ]
    earlier = asyncio.run(RowScorer(judges, config)(Document([dict(ROWS[0])], 0)))
    stored(earlier)
    assert earlier.rows[0]["rewrite_safety"] is None
    later, engine = again(uneven, earlier, config)
    assert len(engine.asked) == 1
    kept(earlier, later)
    assert later.rows[0]["rewrite_safety"] is not None
    assert later.rows[0]["rewrite_score"] is not None


def test_a_changed_rewrite_is_asked_about_and_nothing_else() -> None:
    config = config_of()
    before = [row(0, "a bad one", None, "failed"), *ROWS[1:]]
    earlier = first(uneven, *before, config=config)
    changed = [earlier.rows[0] | {"rewrite": "a GOOD one", "rewrite_status": "ok"}]
    later, engine = again(
        uneven,
        earlier,
        config,
        rows=[*changed, *earlier.rows[1:]],
        changed=frozenset([("id-0", "rewrite")]),
    )
    assert len(engine.asked) == 4, "two orders, and two criteria of the rewrite"
    assert later.rows[1:] == earlier.rows[1:]
    whole = first(uneven, *ROWS, config=config)
    assert later.counts == whole.counts
    for name, value in earlier.rows[0].items():
        if name.startswith("original_") and value is not None:
            assert later.rows[0][name] == value
    assert later.rows[0] == pytest.approx(whole.rows[0], abs=1e-6)


def test_a_rewrite_that_is_a_copy_now_is_a_tie() -> None:
    config = config_of(criteria=["quality"])
    earlier = first(uneven, row(0, "same", None, "failed"), config=config)
    changed = [earlier.rows[0] | {"rewrite": "same", "rewrite_status": "copied"}]
    later, engine = again(
        uneven, earlier, config, rows=changed, changed=frozenset([("id-0", "rewrite")])
    )
    assert not engine.asked
    assert later.rows[0]["rewrite_quality"] == later.rows[0]["original_quality"] == 0.5
    assert later.counts == {"status:copied": 1, "pool:ties": 1}


def test_what_the_input_knows_is_not_asked() -> None:
    config = config_of(criteria=["safety"])
    earlier = first(failing({SAFETY: "GOOD"}), ROWS[0], config=config)
    whole = first(uneven, ROWS[0], config=config)
    later, engine = again(uneven, earlier, config, known=whole.judgements)
    assert not engine.asked
    assert later.judgements == whole.judgements and later.rows == whole.rows


def test_a_function_that_failed_is_called_again(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lengthy.py").write_text(
        "broken = [True]\n"
        "def length(context: str, reference: str, text: str) -> float:\n"
        "    if broken and len(text) > 4:\n"
        "        raise RuntimeError('down')\n"
        "    return min(len(text) / 100, 1)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    criterion = tmp_path / "length.yaml"
    criterion.write_text("kind: python\nname: length\nversion: 1\nfunction: lengthy:length\n")
    config = config_of(criteria=[str(criterion)])
    earlier = first(uneven, *ROWS[:2], config=config)
    assert earlier.counts["verdict:failed"] == 2
    import lengthy  # type: ignore[import-not-found]

    lengthy.broken.clear()
    later, engine = again(uneven, earlier, config)
    assert not engine.asked
    assert later.counts == {"status:ok": 2, "verdict:ok": 4}
    kept(earlier, later)
