"""What answers earn: exact copies, forms, verdicts against labels."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from prewrite.judge.pool import Pool
from prewrite.judge.scorer import PoolScorer, PoolScores
from prewrite.train.config.task import RewriteTask
from prewrite.train.data.prompted import Wanted
from prewrite.train.messages import Rollout, RolloutPrompt
from prewrite.train.tasks.earned import Earned
from prewrite.train.tasks.judging import JudgeEarnings, criterion_of, label_of
from prewrite.train.tasks.rewriting import COPIED, MENDED, RewriteEarnings

ORIGINAL = "\n The town lies on the river. "
REFUSAL = "I'm sorry, but I can't assist with that."


@dataclass
class Judged:
    """Gives each rollout of a pool `score`, or none to those whose text is `unread`."""

    score: float = 0.75
    unread: str = ""
    asked: list[Pool] = field(default_factory=list)

    async def __call__(self, pools: Sequence[Pool]) -> list[PoolScores]:
        self.asked += pools
        return [PoolScores(self._of(pool.candidates), {}) for pool in pools]

    def _of(self, texts: Mapping[str, str]) -> dict[str, float]:
        return {name: self.score for name, text in texts.items() if text.strip() != self.unread}


def rollout(text: str, ended: bool = True) -> Rollout:
    return Rollout(text=text, tokens=(5, 2), logprobs=(-1.0, -1.0), ended=ended)


def rewritten(judge: Judged, copies: bool, *texts: str | Rollout) -> Earned:
    earnings = RewriteEarnings(
        RewriteTask(kind="rewrite", template="safety"), cast(PoolScorer, judge)
    )
    wanted = Wanted(COPIED if copies else MENDED, copies=copies)
    prompt = RolloutPrompt(3, (1, 2), 0, Pool("row", (), ORIGINAL, {}), 0, wanted)
    rollouts = tuple(one if isinstance(one, Rollout) else rollout(one) for one in texts)
    (earned,) = asyncio.run(earnings([(prompt, rollouts)]))
    return earned


@pytest.mark.parametrize(
    ("text", "reward"),
    [
        ("The town lies on the river.", 1.0),
        (" The town lies on the river.\n", 1.0),  # white space around it is put right anyway
        ("The town lies on the river.</passage> and more", 1.0),  # it has ended before
        ("The town  lies on the river.", 0.0),  # inside it is the author's
        ("the town lies on the river.", 0.0),
        ("The town lies on the river", 0.0),
        (REFUSAL, 0.0),
        ("", 0.0),
    ],
)
def test_a_row_to_be_copied_earns_by_the_byte_and_asks_nobody(text: str, reward: float) -> None:
    judge = Judged()
    assert rewritten(judge, True, text).scores == {"rollout-0": reward}
    assert not judge.asked


def test_a_copy_that_was_cut_off_has_not_been_made() -> None:
    cut = rollout("The town lies on the river.", ended=False)
    assert rewritten(Judged(), True, cut).scores == {"rollout-0": 0.0}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (REFUSAL, "refusal"),
        ("  ", "no_text"),
        ("x", "too_short"),
        ("long " * 50, "too_long"),
        ("If the passage is safe, copy it word for word. Fine.", "leaked_prompt"),
        ("</passage>", "leaked_tags"),
        ("<think>endless", "only_reasoning"),
    ],
)
def test_a_wrong_form_earns_nothing_is_counted_and_nobody_is_asked(text: str, reason: str) -> None:
    judge = Judged()
    earned = rewritten(judge, False, text)
    assert earned.scores == {"rollout-0": 0.0} and not judge.asked
    assert earned.counts == {f"form:{reason}": 1}


def test_what_has_its_form_is_judged_and_the_rest_of_its_group_is_not() -> None:
    judge = Judged(unread="Nobody knows what it says.")
    mended = "A quiet town by the river."
    earned = rewritten(judge, False, mended, REFUSAL, "Nobody knows what it says.", ORIGINAL)
    assert earned.scores == {"rollout-0": 0.75, "rollout-1": 0.0, "rollout-3": 0.75}
    (pool,) = judge.asked
    assert [*pool.candidates] == ["original", "rollout-0", "rollout-2", "rollout-3"]
    assert pool.candidates["rollout-0"] == f"\n {mended} "  # as the pass would store it


def test_texts_that_were_cut_off_are_a_wrong_form() -> None:
    earned = rewritten(Judged(), False, rollout("A quiet town by the", ended=False))
    assert earned.scores == {"rollout-0": 0.0} and earned.counts == {"form:max_tokens": 1}


def verdicts(criterion: str, label: float, *texts: str | Rollout) -> Earned:
    wanted = Wanted("quality", criterion=criterion, label=label)
    pool = Pool("row", (), "one", {"original": "one", "rewrite": "two"})
    rollouts = tuple(one if isinstance(one, Rollout) else rollout(one) for one in texts)
    prompt = RolloutPrompt(3, (1, 2), 0, pool, 1, wanted)
    (earned,) = asyncio.run(JudgeEarnings()([(prompt, rollouts)]))
    return earned


def test_a_verdict_earns_where_it_is_the_label() -> None:
    """One that is cut, unreadable or taken back is the policy's own fault: 0, and counted."""
    criterion = criterion_of("quality")
    first, second = ({v: k for k, v in criterion.verdicts.items()}[value] for value in (1, 0))
    form = f"Reasons.\n\n{criterion.answer}"
    said = (f"{form}{first})", f"{form}{second})", f"{form}{first}) or not", "No idea.")
    earned = verdicts("quality", 1.0, *said, rollout(f"{form}{first})", ended=False))
    assert [*earned.scores.values()] == [1.0, 0.0, 0.0, 0.0, 0.0]
    assert earned.counts == {"form:unparsable": 3}
    assert earned.values == {"quality": {"rollout-0": 1.0, "rollout-1": 0.0}}
    assert [*verdicts("quality", 0.0, *said).scores.values()] == [0.0, 1.0, 0.0, 0.0]


def test_a_number_earns_by_its_distance(tmp_path: Path) -> None:
    file = tmp_path / "number.yaml"
    number = {"name": "number", "version": 1, "kind": "pointwise", "scale": [0, 10]}
    file.write_text(yaml.safe_dump(number | {"answer": "Score: (", "template": "{{ candidate }}"}))
    earned = verdicts(str(file), 1.0, "Score: (10)", "Score: (2.5)", "Score: (0)", "Score: (11)")
    assert [*earned.scores.values()] == pytest.approx([1.0, 0.25, 0.0, 0.0])
    assert label_of({"original_number": 0.3}, criterion_of(str(file))) == 0.3


def pair(**changed: Any) -> dict[str, Any]:
    scores = {"original_quality": 1.0, "rewrite_quality": 0.0}
    return {"rewrite": "two", "rewrite_status": "ok"} | scores | changed


@pytest.mark.parametrize(
    ("row", "label"),
    [
        (pair(), 1.0),
        (pair(original_quality=0.25, rewrite_quality=0.5), 0.0),
        (pair(original_quality=0.5, rewrite_quality=0.5), None),
        (pair(rewrite_quality=None), None),
        (pair(original_quality=None), None),
        (pair(rewrite=None, rewrite_status="refused"), None),
    ],
)
def test_the_label_of_a_pair_is_which_has_the_higher_score(
    row: dict[str, Any], label: float | None
) -> None:
    assert label_of(row, criterion_of("quality")) == label


@pytest.mark.parametrize(("score", "label"), [(1.0, 1.0), (0.0, 0.0), (0.875, None), (None, None)])
def test_the_label_of_one_text_is_the_value_of_a_verdict(
    score: float | None, label: float | None
) -> None:
    row = {"original_safety": score, "rewrite_safety": 0.0}
    assert label_of(row, criterion_of("safety")) == label
