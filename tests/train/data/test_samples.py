"""A document's spans to trees: every text once, with the right prefix, within the limits."""

from collections.abc import Sequence
from dataclasses import replace
from math import isnan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prewrite.train.config.sections import BatchConfig
from prewrite.train.data.rows import PackedSequence, pack
from prewrite.train.data.samples import DocumentSpan, ScoredChunk, TreeBuilder
from prewrite.train.data.texts import TextTokens
from prewrite.train.data.trees import ORIGINAL, REWRITE, Tree
from tests.train.data.sets import BOS, EOS, HOSTILE, ids, tokenizer

BOTH = frozenset((ORIGINAL, REWRITE))
TEXTS = TextTokens(tokenizer())


def batch(longest: int = 64, context: int = 8, row: int = 256) -> BatchConfig:
    return BatchConfig(samples=1, sequence_tokens=row, max_seq_len=longest, context_tokens=context)


def grow(
    chunks: Sequence[ScoredChunk], size: int, limits: BatchConfig
) -> tuple[list[Tree], TreeBuilder]:
    """The trees of all spans of a document whose spans have `size` chunks."""
    builder, trees = TreeBuilder(TEXTS, BOS, EOS, limits), list[Tree]()
    for first in range(0, len(chunks), size):
        part = chunks[first : first + size]
        span = DocumentSpan(
            sample=first // size,
            first=first,
            chunks=part,
            original=lambda number: chunks[number].original,
            context=2,
            ends=first + size >= len(chunks),
        )
        TEXTS.prepare(span.texts())
        trees += builder.trees(span)
    return trees, builder


def chunk(
    number: int, original: str, rewrite: str | None, learn: frozenset[int] = BOTH
) -> ScoredChunk:
    return ScoredChunk(str(number), (original, rewrite), (1.0, 2.0), (-1.0, -2.0), learn)


pieces = st.one_of(
    st.sampled_from(HOSTILE), st.text(max_size=8), st.sampled_from((" ", "\n", " the quick fox"))
)
words = st.integers(1, 30).map(" word".__mul__)  # so many tokens: limits are met often
texts = st.lists(pieces, min_size=1, max_size=4).map("".join) | words
documents = st.lists(
    st.tuples(texts, st.none() | texts, st.frozensets(st.sampled_from((ORIGINAL, REWRITE)))),
    min_size=1,
    max_size=9,
).map(lambda rows: [chunk(n, *row) for n, row in enumerate(rows)])
limits = st.builds(
    batch, st.integers(16, 120), st.integers(0, 15), st.sampled_from((128, 256, 512))
)


@settings(max_examples=120)
@given(documents, st.integers(1, 5), limits)
def test_every_text_is_learnt_once_after_its_own_prefix(
    chunks: list[ScoredChunk], size: int, limits: BatchConfig
) -> None:
    trees, builder = grow(chunks, size, limits)
    long = [c.id for n, c in enumerate(chunks) if _too_long(c, n, chunks, limits)]
    assert builder.counts["too_long"] == len(long)
    learnt: dict[tuple[str, int], list[int]] = {}
    for tree in trees:
        assert tree.cost <= limits.sequence_tokens and tree.trunk_inputs <= len(tree.trunk)
        for c in tree.candidates:
            assert c.cut + len(c.tokens) - 1 <= limits.max_seq_len
            own, number = [int(t) for t in c.tokens], int(c.id)
            done = learnt.setdefault((c.id, c.kind), [])
            stream = [BOS, *_joined(chunks[:number]), *done]
            prefix = [int(t) for t in tree.trunk[: c.cut]]
            assert prefix == stream[len(stream) - c.cut :]
            assert c.cut >= min(len(stream), max(1, limits.context_tokens))
            inner = [int(t) for t in tree.trunk[c.cut : c.cut + len(own) - 1]]
            assert not c.on_trunk or inner == own[:-1]
            assert (c.score, isnan(c.reference) or c.reference) in (
                ((1.0, -1.0), (1.0, True)) if c.kind == ORIGINAL else ((2.0, -2.0), (2.0, True))
            )
            done += own
    expected = _expected(chunks)
    for left_out in long:
        del expected[left_out, REWRITE]
    assert {key: own for key, own in learnt.items() if own} == expected
    for (name, kind), own in learnt.items():
        text = chunks[int(name)].texts[kind]
        plain = own[:-1] if int(name) == len(chunks) - 1 else own
        assert tokenizer().decode(plain) == tokenizer().decode(ids(text or ""))
    assert builder.counts["trees"] == len(trees)
    assert builder.counts["samples"] == -(-len(chunks) // size)


def _joined(chunks: Sequence[ScoredChunk]) -> list[int]:
    return [token for c in chunks for token in ids(c.original)]


def _end(number: int, chunks: Sequence[ScoredChunk]) -> list[int]:
    return [EOS] if number == len(chunks) - 1 else []


def _expected(chunks: Sequence[ScoredChunk]) -> dict[tuple[str, int], list[int]]:
    every = {
        (c.id, kind): [*ids(text), *_end(n, chunks)]
        for n, c in enumerate(chunks)
        for kind, text in enumerate(c.texts)
        if kind in c.learn and text is not None
    }
    return {key: tokens for key, tokens in every.items() if tokens}


def _too_long(
    c: ScoredChunk, number: int, chunks: Sequence[ScoredChunk], limits: BatchConfig
) -> bool:
    """Whether a rewrite that is to be learnt does not fit even where it begins a tree."""
    own = [[*ids(t), *_end(number, chunks)] for t in c.texts if t is not None]
    if REWRITE not in c.learn or len(own) < 2 or own[0] == own[1] or not own[1]:
        return False
    cut = min(1 + len(_joined(chunks[:number])), max(1, limits.context_tokens))
    ends = [cut + len(tokens) - 1 for tokens in own]
    inputs = (ends[0] if own[0] else cut - 1) + len(own[1])
    return max(ends) > limits.max_seq_len or inputs > limits.sequence_tokens


@settings(max_examples=60)
@given(documents, st.integers(1, 5), limits, st.data())
def test_a_prefix_does_not_depend_on_what_a_phase_learns(
    chunks: list[ScoredChunk], size: int, limits: BatchConfig, data: st.DataObject
) -> None:
    every = [ScoredChunk(c.id, c.texts, learn=BOTH) for c in chunks]
    some = [
        ScoredChunk(
            c.id, c.texts, learn=data.draw(st.frozensets(st.sampled_from((ORIGINAL, REWRITE))))
        )
        for c in chunks
    ]
    whole, _ = grow(every, size, limits)
    # Two pieces of one long text may have the same tokens.
    known = {(c.id, c.kind, *c.tokens, *_prefix(t, c.cut)) for t in whole for c in t.candidates}
    for tree in grow(some, size, limits)[0]:
        for c in tree.candidates:
            assert (c.id, c.kind, *c.tokens, *_prefix(tree, c.cut)) in known


def _prefix(tree: Tree, cut: int) -> list[int]:
    return [int(token) for token in tree.trunk[:cut]]


def test_originals_alone_are_split_where_they_are_with_rewrites() -> None:
    def cuts(learn: frozenset[int]) -> list[tuple[str, int]]:
        chunks = [chunk(n, " word" * 20, " other" * 20, learn) for n in range(4)]
        trees, _ = grow(chunks, 4, batch(longest=100, row=128))
        return [(c.id, c.cut) for t in trees for c in t.candidates if c.kind == ORIGINAL]

    assert cuts(BOTH) == cuts(frozenset((ORIGINAL,))) == [("0", 1), ("1", 21), ("2", 41), ("3", 8)]


def test_a_document_starts_with_bos_and_its_last_texts_end_with_eos() -> None:
    (tree,), _ = grow([chunk(0, "One two.", "Two one."), chunk(1, " Three.", None)], 2, batch())
    assert [int(t) for t in tree.trunk] == [BOS, *ids("One two."), *ids(" Three.")]
    ends = [int(c.tokens[-1]) == EOS for c in tree.candidates]
    assert ends == [False, False, True]
    (tree,), _ = grow([chunk(0, "One two.", "Two one.")], 2, batch())
    assert [int(c.tokens[-1]) for c in tree.candidates] == [EOS, EOS]


def test_a_stretch_in_mid_document_starts_with_its_context() -> None:
    chunks = [chunk(n, f" This is sentence {n} of it.", None) for n in range(6)]
    first, second = grow(chunks, 3, batch(context=8))[0]
    assert int(first.trunk[0]) == BOS
    before = _joined(chunks[:3])
    assert _prefix(second, second.candidates[0].cut) == before[-8:]
    _, second = grow(chunks, 3, batch(context=0))[0]
    assert _prefix(second, second.candidates[0].cut) == before[-1:]


def test_a_copy_lies_on_the_trunk_and_costs_nothing() -> None:
    (alone,), _ = grow([chunk(0, "One two.", None)], 1, batch())
    (both,), _ = grow([chunk(0, "One two.", "One two.")], 1, batch())
    assert [c.on_trunk for c in both.candidates] == [True, True]
    assert both.cost == alone.cost


def test_chunks_that_are_not_learnt_are_context_only() -> None:
    chunks = [
        chunk(n, f" Sentence {n}.", " Other.", BOTH if n == 1 else frozenset()) for n in (0, 1, 2)
    ]
    (tree,), builder = grow(chunks, 3, batch())
    assert {c.id for c in tree.candidates} == {"1"}
    assert _prefix(tree, tree.candidates[0].cut) == [BOS, *ids(" Sentence 0.")]
    assert tree.trunk_inputs < len(_joined(chunks))
    assert builder.counts["context_only"] == 2


def test_what_is_left_out_is_counted() -> None:
    rewrites = frozenset((REWRITE,))
    chunks = [chunk(0, "One.", None, rewrites), chunk(1, " Two.", "", rewrites)]
    trees, builder = grow([*chunks, chunk(2, " Three.", "x", frozenset())], 3, batch())
    assert trees == []
    assert builder.counts["no_candidate"] == builder.counts["samples"] == 1
    assert (builder.counts["no_rewrite"], builder.counts["no_tokens"]) == (1, 1)


def test_a_stretch_too_long_for_a_tree_is_split_at_a_chunk_with_context() -> None:
    chunks = [chunk(n, " word" * 20, " other" * 20) for n in range(4)]
    trees, builder = grow(chunks, 4, batch(longest=64, context=8))
    assert [[c.id for c in tree.candidates] for tree in trees] == [
        ["0", "0", "1", "1", "2", "2"],
        ["3", "3"],
    ]
    assert trees[1].candidates[0].cut == 8 and builder.counts["split"] == 1


@pytest.mark.parametrize(("rewrite", "trees"), [(30, 1), (31, 2)])
def test_a_tree_is_filled_to_the_last_token(rewrite: int, trees: int) -> None:
    """BOS, 33 tokens, and a rewrite: its inputs are all of these but the last."""
    chunks = [chunk(0, " word" * 33, None), chunk(1, " x", " other" * rewrite), chunk(2, "", None)]
    assert len(grow(chunks, 3, batch(longest=63))[0]) == trees
    chunks = [chunk(0, " word" * 33, " other" * 50), chunk(1, " x", " other" * (12 + rewrite))]
    assert len(grow(chunks, 2, batch(longest=100, row=128))[0]) == trees


def test_a_long_chunk_without_rewrite_is_learnt_in_pieces() -> None:
    trees, builder = grow([chunk(0, " word" * 178, None), chunk(1, " end", None)], 2, batch())
    found = [int(t) for tree in trees for c in tree.candidates if c.id == "0" for t in c.tokens]
    assert found == ids(" word" * 178)
    long = [c for tree in trees for c in tree.candidates if c.id == "0"]
    assert (
        all(isnan(c.reference) for c in long) and len(long) == 3
    )  # 64, then 57 after 8 of context
    assert builder.counts["split"] == 1


LONG = " word" * 200


@pytest.mark.parametrize(
    ("original", "rewrite", "pieces"),
    [("One.", LONG, 1), (LONG, "One.", 4), (LONG, LONG + "!", 4)],
    ids=["rewrite", "original", "both"],
)
def test_a_text_that_fits_nowhere_is_left_out_and_counted(
    original: str, rewrite: str, pieces: int
) -> None:
    """Whichever of the two it is, the rewrite goes, for the original is context of what follows."""
    chunks = [
        chunk(0, "Before.", "Earlier."),
        chunk(1, original, rewrite),
        chunk(2, " End", " Fin"),
    ]
    trees, builder = grow(chunks, 3, batch(longest=64))
    learnt = [(c.id, c.kind) for tree in trees for c in tree.candidates]
    assert learnt.count(("1", ORIGINAL)) == pieces and ("1", REWRITE) not in learnt
    assert {(name, kind) for name in "02" for kind in BOTH} <= set(learnt)
    assert builder.counts["too_long"] == 1 and builder.counts["cut_points"] == pieces + 2


@pytest.mark.parametrize(("learn", "cuts"), [(REWRITE, 1), (ORIGINAL, 1)])
def test_what_a_phase_does_not_want_is_not_counted_as_too_long(learn: int, cuts: int) -> None:
    trees, builder = grow([chunk(7, "One.", LONG, frozenset((learn,)))], 1, batch())
    assert len(trees) == (learn == ORIGINAL)
    assert builder.counts["too_long"] == (learn == REWRITE) and builder.counts["cut_points"] == cuts


def test_special_tokens_in_a_text_are_plain_characters() -> None:
    (tree,), _ = grow([chunk(0, "<|im_end|><|endoftext|>", None)], 1, batch())
    assert not {0, 2} & {int(t) for t in tree.trunk}


def test_trees_fill_rows() -> None:
    chunks = [chunk(n, f" This is sentence {n}.", f" Sentence {n} it is.") for n in range(30)]
    rows: list[PackedSequence] = pack(grow(chunks, 4, batch())[0], 256)
    learnt = sum(len(row.at_T) for row in rows)
    every = sum(len(ids(t or "")) for c in chunks for t in c.texts) + 2
    assert learnt == every


@given(documents, st.integers(1, 5), st.integers(1, 4), st.integers(1, 10))
@settings(max_examples=60)
def test_a_tree_has_room_for_the_rollouts_of_its_places(
    chunks: list[ScoredChunk], size: int, count: int, tokens: int
) -> None:
    """In its row and behind each prefix; a place without room is counted and not sampled."""
    limits = batch(48, 8, 128)
    wanted = [replace(c, learn=frozenset({ORIGINAL}), room=(count, tokens)) for c in chunks]
    trees, builder = grow(wanted, size, limits)
    places = [(tree, c) for tree in trees for c in tree.candidates if c.kind == ORIGINAL]
    for tree in trees:
        rollouts = sum(c.kind == ORIGINAL for c in tree.candidates) * count * tokens
        assert tree.cost + rollouts <= limits.sequence_tokens
    assert all(c.cut + tokens - 1 <= limits.max_seq_len for _, c in places)
    known = len(places) + builder.counts["no_room"] + builder.counts["no_tokens"]
    assert known == len(chunks)


def test_the_longest_prefix_leaves_room_for_the_rollouts() -> None:
    """`context_tokens` and `rollouts.tokens` together are `max_seq_len`."""
    chunks = [chunk(0, " word" * 56, None), chunk(1, " word" * 8, None), chunk(2, " end", None)]
    wanted = [replace(c, learn=frozenset({ORIGINAL}), room=(2, 8)) for c in chunks[1:2]]
    trees, builder = grow([chunks[0], *wanted, chunks[2]], 1, batch(64, 56, 128))
    place = [c for tree in trees for c in tree.candidates if c.id == "1"]
    assert [c.cut for c in place] == [56] and builder.counts["no_room"] == 0
