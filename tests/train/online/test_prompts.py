"""Places that ask for rollouts, and what becomes of them: the right prefix, the right scores."""

from collections.abc import Sequence
from math import isnan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prewrite.train.config.sections import BatchConfig
from prewrite.train.data.rows import build_row
from prewrite.train.data.samples import DocumentSpan, ScoredChunk, TreeBuilder
from prewrite.train.data.source import drawn
from prewrite.train.data.texts import TextTokens
from prewrite.train.data.trees import ORIGINAL, REWRITE, ROLLOUT, Tree
from prewrite.train.messages import Rollout, RolloutGroup, RolloutPrompt
from prewrite.train.tasks.continuing import prompts_of, with_rollouts
from tests.train.data.sets import BOS, EOS, ids, tokenizer

TEXTS = TextTokens(tokenizer())
WORDS = ["One day", " the fox", " ran over", " the hill"]
LEARN = frozenset({ORIGINAL, REWRITE})


def made(
    stored: Sequence[str], chosen: int = 2, rewrite: str = " the cat"
) -> tuple[list[Tree], list[RolloutPrompt]]:
    """A document of four chunks that asks for rollouts at one of them."""
    chunks = [
        ScoredChunk(
            id=f"row-{number}",
            texts=(text, rewrite),
            scores=(7.0, 8.0),
            learn=LEARN if number == chosen else frozenset(),
            room=(2, 5) if number == chosen else (0, 0),
            known={"safety": {"original": 0.5}},
        )
        for number, text in enumerate(WORDS)
    ]
    span = DocumentSpan(3, 0, chunks, lambda number: WORDS[number], 2, True, doc_id="tale")
    limits = BatchConfig(samples=1, sequence_tokens=128, max_seq_len=64, context_tokens=8)
    TEXTS.prepare(span.texts())
    trees = TreeBuilder(TEXTS, BOS, EOS, limits).trees(span)
    return trees, list(prompts_of(span, trees, TEXTS, stored, 1, 100))


def test_a_place_is_what_policy_and_judge_need() -> None:
    (prompt,) = made(["original", "rewrite"])[1]
    assert (prompt.sample, prompt.id, prompt.pool.reference) == (3, "row-2", " ran over")
    assert prompt.doc_id == "tale"
    assert list(prompt.tokens) == [BOS, *ids("One day"), *ids(" the fox")]
    assert "".join(prompt.pool.context) == "One day the fox"
    assert prompt.pool.candidates == {"original": " ran over", "rewrite": " the cat"}
    assert prompt.pool.known == {"safety": {"original": 0.5}}
    assert made(["original", "rewrite"])[1] == [prompt], "its seed does not change"
    (other,) = made(["rewrite"], chosen=1)[1]
    assert other.pool.candidates == {"rewrite": " the cat"} and other.seed != prompt.seed


@pytest.mark.parametrize("rewrite", ["", " the cat" * 40])
def test_a_rewrite_that_is_not_laid_out_is_not_judged(rewrite: str) -> None:
    ((tree,), (prompt,)) = made(["original", "rewrite"], rewrite=rewrite)
    assert [c.kind for c in tree.candidates] == [ORIGINAL]
    assert prompt.pool.candidates == {"original": " ran over"}
    assert with_rollouts([tree], {(3, "row-2"): group(original=0.1, rollout_0=0.9)}, ["original"])


def group(**scores: float) -> RolloutGroup:
    rollouts = (
        Rollout(text="a b", tokens=(5, 6, EOS), logprobs=(-1.0, -2.0, -3.0), ended=True),
        Rollout(text="", tokens=(EOS,), logprobs=(-4.0,), ended=True),
    )
    named = {name.replace("_", "-"): score for name, score in scores.items()}
    return RolloutGroup(sample=3, id="row-2", version=0, rollouts=rollouts, scores=named)


def test_rollouts_become_branches_as_they_were_sampled() -> None:
    trees, _ = made(["original", "rewrite"])
    found = {(3, "row-2"): group(original=0.1, rollout_0=0.9)}
    (tree,) = with_rollouts(trees, found, ["original", "rewrite"])
    assert [c.kind for c in tree.candidates] == [ORIGINAL, ROLLOUT, ROLLOUT, REWRITE]
    original, first, second, rewrite = tree.candidates
    assert (original.score, first.score) == (0.1, 0.9)
    assert isnan(second.score) and isnan(rewrite.score), "a score of the set is on another scale"
    assert first.tokens.tolist() == [5, 6, EOS] and first.sampled == (-1.0, -2.0, -3.0)
    assert first.cut == original.cut and not first.on_trunk
    row = build_row([tree], 128)
    sampled = row.candidates.sampled_T[row.candidates.kind_C[row.candidates.candidate_T] == ROLLOUT]
    assert sampled.tolist() == [-1.0, -2.0, -3.0, -4.0]
    assert len(set(row.candidates.cut_C.tolist())) == 1


def test_only_those_that_compete_are_laid_out() -> None:
    trees, _ = made([])
    (tree,) = with_rollouts(trees, {(3, "row-2"): group(rollout_0=1.0)}, [])
    assert [c.kind for c in tree.candidates] == [ROLLOUT, ROLLOUT]
    (tree,) = with_rollouts(trees, {}, [])
    assert tree.candidates == ()
    (tree,) = with_rollouts(trees, {}, ["original"])
    assert [isnan(c.score) for c in tree.candidates] == [True]


@given(
    st.lists(st.booleans(), max_size=20), st.integers(1, 5), st.integers(0, 9), st.integers(0, 9)
)
def test_places_are_drawn_among_those_that_pass(
    passing: list[bool], prompts: int, seed: int, sample: int
) -> None:
    mask = np.array(passing, np.bool_)
    found = drawn(mask, prompts, seed, sample)
    assert found.sum() == min(prompts, mask.sum()) and not (found & ~mask).any()
    assert (found == drawn(mask, prompts, seed, sample)).all()
    assert (drawn(mask, "every", seed, sample) == mask).all()
