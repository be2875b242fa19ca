"""Numbers of thoughts: what counts, what counts for nothing, and what is said of it."""

import pytest

from prewrite.judge.pool import Pool
from prewrite.train.messages import RolloutPrompt
from prewrite.train.thoughts.asked import KINDS, After, Place, PlaceResult
from prewrite.train.thoughts.told import Use, lines, use_of

PLACES = [
    Place(RolloutPrompt(n, (1,), 0, Pool(f"row-{n}", (), "two", {})), f"doc-{n}") for n in range(20)
]
GOOD = {"own": 1.0, "blank": 0.0, "generic": 0.0, "swapped": 0.0}


def result(
    formed: bool = True, sampled: bool = True, likelihood: float | None = -1.0
) -> PlaceResult:
    kinds = KINDS if formed and sampled else KINDS[1:]
    return PlaceResult(sampled, formed and sampled, {k: After("two", likelihood) for k in kinds})


def use(found: list[PlaceResult], scores: list[dict[str, float]] | None) -> Use:
    return use_of(PLACES[: len(found)], found, scores)


def reward(found: Use, kind: str = "own") -> float | None:
    one = found.means["reward"][kind]
    return one.value if one else None


def test_a_thought_of_the_wrong_form_earns_nothing() -> None:
    told = {kind: 1.0 for kind in KINDS[1:]}
    found = use([result(), result(formed=False)], [GOOD, told])
    assert reward(found) == 0.5 and (found.malformed, found.unsampled) == (1, 0)


def test_what_the_engine_or_the_judge_failed_at_counts_for_nothing() -> None:
    """It is no 0, and it is told."""
    lost = result()
    lost.after["own"] = After(None, None)
    scores = [GOOD, {kind: 1.0 for kind in KINDS[1:]}, {}, {k: 1.0 for k in KINDS[1:]}]
    found = use([result(), result(sampled=False), result(), lost], scores)
    assert reward(found) == 1.0 and reward(found, "blank") == pytest.approx(2 / 3)
    assert (found.unsampled, found.malformed) == (1, 0)
    assert (found.unwritten, found.unlikely, found.unread) == (1, 1, 4)
    page = "\n".join(lines("model", found))
    for words in ("1 at which the engine gave no thought", "4 that the judge could not read"):
        assert words in page


@pytest.mark.parametrize(
    ("scores", "sentence"),
    [
        (GOOD, "its own thoughts are better than blank and generic and swapped ones (reward)"),
        (GOOD | {"generic": 1.0}, "it is not shown that its own thoughts are better than generic"),
        (GOOD | {"own": 0.0, "generic": 1.0}, "its own thoughts are worse than generic ones"),
    ],
)
def test_one_sentence_says_whether_thoughts_help(scores: dict[str, float], sentence: str) -> None:
    found = use([result() for _ in PLACES], [scores for _ in PLACES])
    assert found.verdict.startswith(sentence) and not found.silent


@pytest.mark.parametrize(
    ("found", "scores", "sentence"),
    [
        ([result(sampled=False)] * 3, [GOOD] * 3, "the engine gave no thought at any of 3 places"),
        ([result(likelihood=None)] * 3, [GOOD] * 3, "told the likelihood of none of 12 texts"),
        ([result()] * 3, [{}] * 3, "the judge could read none of 12 texts"),
    ],
)
def test_where_everything_failed_nothing_was_measured(
    found: list[PlaceResult], scores: list[dict[str, float]], sentence: str
) -> None:
    assert sentence in (use(found, scores).silent or "")


def test_without_a_judge_the_likelihood_decides() -> None:
    found = use([result() for _ in PLACES], None)
    assert [*found.means] == ["likelihood"] and found.unread == 0 and not found.silent
