"""The gate lets an honest gain in, keeps equal candidates out, and names a broken guard."""

import numpy as np
import pytest

from prewrite.base.errors import InputError
from prewrite.evaluation.improve.gate import Decision, Evidence, decide, needed
from prewrite.evaluation.improve.guards import GUARDS, PartName

SEEDS, CANDIDATES, GAIN = 12, 20, 0.1
FINE: dict[PartName, dict[str, float | None]] = {
    "judge": {"p_first": 0.5, "canary_flips": 0.1, "length": 0.0},
    "rewriter": {"repetition": 0.02, "distinct_4": 0.9, "refusals": 0.01, "length": 1.0,
                 "overlap": 0.6},
    "policy": {"repetition": 0.02, "distinct_4": 0.9, "refusals": 0.01, "length": 1.0,
               "bits_per_byte": 1.0},
}  # fmt: skip


def drawn(draw: np.random.Generator, documents: int, right: float) -> Evidence:
    """A model that is right on a document so often."""
    hits = (draw.random(documents) < right).astype(float)
    return Evidence({f"d{n}": float(hit) for n, hit in enumerate(hits)}, FINE["judge"])


def better(one: Evidence, draw: np.random.Generator, gain: float) -> Evidence:
    """The same model, right on so many documents more, net of 6 % that it gets wrong now."""
    there = np.array([*one.scores.values()]) == 1
    lost = there & (draw.random(len(there)) < 0.06 / there.mean())
    won = ~there & (draw.random(len(there)) < (gain + 0.06) / (1 - there.mean()))
    after = (there & ~lost | won).astype(float)
    return Evidence(dict(zip(one.scores, after.tolist(), strict=True)), one.guards)


def decided(
    candidate: Evidence, incumbent: Evidence, comparisons: int = 9, gain: float = GAIN
) -> Decision:
    return decide("judge", candidate, incumbent, comparisons, gain)


def test_of_twenty_equal_candidates_at_most_one_gets_in() -> None:
    """Each has noise of its own; who gets in is the next one's incumbent, as in rounds. The error
    of 5 % is for all twenty together, and has two tails.
    """
    promoted = []
    for seed in range(SEEDS):
        draw = np.random.default_rng(seed)
        incumbent, passed = drawn(draw, needed(CANDIDATES, 0.2), 0.6), 0
        for _ in range(CANDIDATES):
            candidate = drawn(draw, len(incumbent.scores), 0.6)
            if decided(candidate, incumbent, CANDIDATES, 0.2).outcome == "passed":
                incumbent, passed = candidate, passed + 1
        promoted.append(passed)
    assert max(promoted) <= 1
    assert sum(promoted) <= 0.1 * SEEDS


def test_a_change_that_does_nothing_does_not_get_in() -> None:
    incumbent = drawn(np.random.default_rng(0), 500, 0.6)
    found = decided(incumbent, incumbent)
    assert (found.outcome, found.gain, found.low) == ("no gain", 0, 0)
    assert "gain: found +0.0000 with +0.0000 as the lower end of the 99.44 %" in found.reasons[0]


def test_of_three_seeds_of_an_honest_gain_two_get_in() -> None:
    """The documents it asks for are enough: the gain is found in four of five cases or more."""
    passed = []
    for seed in range(SEEDS):
        draw = np.random.default_rng(seed)
        incumbent = drawn(draw, needed(9, GAIN), 0.6)
        passed.append(decided(better(incumbent, draw, GAIN), incumbent).outcome == "passed")
    assert sum(passed[:3]) >= 2
    assert sum(passed) >= 0.8 * SEEDS


def test_a_clear_loss_is_no_gain() -> None:
    draw = np.random.default_rng(0)
    found = decided(drawn(draw, 500, 0.4), drawn(draw, 500, 0.6))
    assert found.outcome == "no gain" and found.high < 0


@pytest.mark.parametrize(
    ("part", "figure", "value"),
    [
        ("judge", "p_first", 0.6),
        ("judge", "canary_flips", 0.2),
        ("judge", "length", 0.4),
        ("rewriter", "overlap", 1.0),
        ("rewriter", "refusals", 0.1),
        ("rewriter", "length", 0.5),
        ("policy", "bits_per_byte", 1.02),
        ("policy", "repetition", 0.2),
        ("policy", "distinct_4", 0.5),
    ],
)
def test_a_broken_guard_keeps_a_gain_out_and_is_named(
    part: PartName, figure: str, value: float
) -> None:
    before = Evidence({f"d{n}": 0.2 for n in range(400)}, FINE[part])
    after = Evidence({f"d{n}": 0.9 for n in range(400)}, {**FINE[part], figure: value})
    found = decide(part, after, before, 9, GAIN)
    assert found.outcome == "guard" and len(found.reasons) == 1
    assert found.reasons[0].startswith(f"{figure}: found {value:g}; accepted: ")
    assert decide(part, Evidence(after.scores, FINE[part]), before, 9, GAIN).outcome == "passed"


@pytest.mark.parametrize("part", GUARDS)
def test_every_guard_holds_for_the_incumbent_itself(part: PartName) -> None:
    """However bad a figure is, who leaves it as it is breaks nothing."""
    for value in (0.01, 0.5, 3.0):
        figures = dict.fromkeys(GUARDS[part], value)
        one = Evidence({f"d{n}": 0.5 for n in range(400)}, figures)
        assert not any(guard.broken for guard in decide(part, one, one, 9, GAIN).guards)


def test_a_figure_that_only_the_incumbent_has_is_a_broken_guard() -> None:
    scores = {f"d{n}": 0.5 for n in range(400)}
    lost = {**FINE["judge"], "canary_flips": None}
    found = decide("judge", Evidence(scores, lost), Evidence(scores, FINE["judge"]), 9, GAIN)
    assert found.reasons[0].startswith("canary_flips: found none; accepted: at most 0.12")
    neither = decide("judge", Evidence(scores, lost), Evidence(scores, lost), 9, GAIN)
    assert neither.outcome == "no gain" and neither.guards[1].candidate is None


def test_too_few_documents_are_refused_with_the_number_it_takes() -> None:
    one = drawn(np.random.default_rng(0), 100, 0.6)
    with pytest.raises(
        InputError, match=f"found 100 documents; accepted: at least {needed(9, GAIN)}"
    ):
        decided(one, one)
    apart = Evidence({f"e{n}": 0.5 for n in range(500)}, FINE["judge"])
    with pytest.raises(InputError, match="found 0 documents"):
        decided(one, apart)


def test_documents_of_one_side_are_counted() -> None:
    one = drawn(np.random.default_rng(0), 500, 0.6)
    less = Evidence(dict([*one.scores.items()][10:]), one.guards)
    found = decided(less, one)
    assert (found.documents, found.unpaired) == (490, 10)


def test_more_comparisons_take_more_documents() -> None:
    assert needed(1, 0.1) < needed(9, 0.1) < needed(20, 0.1) and needed(9, 0.05) > 3.9 * needed(
        9, 0.1
    )
