"""A span of a document to trees: what is laid out, and with which prefix.

The trunk starts with the last `context_tokens` (at least one) tokens of BOS and the text before
the span: so BOS is the root at a document's start, and in mid-document the context's first
token is. Each chunk and each rewrite is tokenised on its own. What follows a document's last chunk
is EOS, as a label.

Guarantees: every text that is to be learnt is in exactly one tree (a long original in pieces), but
for a rewrite that does not fit even where its chunk begins a tree: that one is left out; no prefix
with its text has more than `max_seq_len` inputs, no tree more than `sequence_tokens`. A span
that is longer under the model's tokenizer is split before the first chunk that does not fit, and
each further tree gets a context of its own. Splits depend on all texts of the rows, never on which
of them a phase learns: so the prefix of a text, and with it a stored reference, is the same in
every phase without rollouts (for those a phase keeps room). Nothing is dropped in silence: what is
left out is counted.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import nan

import numpy as np

from prewrite.shards.schema import Row, StoredValues
from prewrite.train.config.phases import KINDS
from prewrite.train.config.sections import BatchConfig
from prewrite.train.data.texts import PlacedText, TextTokens
from prewrite.train.data.trees import Candidate, Tokens, Tree


@dataclass(frozen=True, slots=True)
class ScoredChunk:
    """A shard row. By kind: texts (None: not usable, and for a rollout), the judge's scores, stored
    references (NaN: not known). learn: the kinds to lay out. room: how many rollouts it will get,
    and tokens of each, at most. known: what the set holds, for the judge of rollouts.
    """

    id: str
    texts: tuple[str | None, ...]
    scores: tuple[float, ...] = (nan, nan)
    references: tuple[float, ...] = (nan, nan)
    learn: frozenset[int] = frozenset()
    room: tuple[int, int] = (0, 0)
    known: StoredValues = field(default_factory=dict)

    @property
    def original(self) -> str:
        """The text on the trunk."""
        return self.texts[0] or ""


@dataclass(frozen=True, slots=True)
class AskedRow:
    """A row and all rows of its document. texts: the columns of texts that its set holds. copies:
    whether it is to be copied exactly. criterion: that of its set in the recipe. sample: the number
    in the run's order.
    """

    row: Row
    document: Sequence[Row]
    texts: Sequence[str]
    copies: bool
    criterion: str | None
    sample: int = 0


@dataclass(frozen=True, slots=True)
class DocumentSpan:
    """Consecutive chunks of a document, the first of them its chunk number `first`.

    sample: the number in the run's order. original: the text of any earlier chunk, by its number;
    the last `context` of them hold the context, as a rule. ends: the document's last chunk is the
    last of these. asked: of a prompted task, whose one chunk is a prompt. doc_id: of
    the document in its set.
    """

    sample: int
    first: int
    chunks: Sequence[ScoredChunk]
    original: Callable[[int], str]
    context: int
    ends: bool
    asked: AskedRow | None = None
    doc_id: str = ""

    def texts(self) -> Iterator[PlacedText]:
        """What is to be tokenised."""
        for number in range(max(0, self.first - self.context), self.first):
            yield self.original(number), number == 0
        for number, chunk in enumerate(self.chunks, self.first):
            yield from ((text, number == 0) for text in chunk.texts if text is not None)


@dataclass(frozen=True, slots=True)
class _CutPoint:
    """A chunk in the tokens of its span, from `start`, with a candidate for each of its texts.

    trunk, end: inputs of the span up to its last on the trunk, and to the last of its longest
    candidate. branches: inputs of its branches.
    """

    chunk: ScoredChunk
    start: int
    candidates: tuple[Candidate, ...]
    trunk: int
    end: int
    branches: int

    def without_room(self) -> "_CutPoint":
        """The same one where its chunk gets no rollouts."""
        if not any(self.chunk.room):
            return self
        return _cut_point(replace(self.chunk, room=(0, 0)), self.start, self.candidates)


class TreeBuilder:
    """Makes trees of spans; `counts` says what became of them."""

    def __init__(
        self,
        texts: TextTokens,
        bos: int,
        eos: int,
        batch: BatchConfig,
        kinds: Sequence[str] = KINDS,
    ) -> None:
        self.texts, self._bos, self._batch = texts, np.array([bos], np.int32), batch
        self._kinds = kinds
        self._eos, self._none = np.array([eos], np.int32), np.array([], np.int32)
        self._context = max(1, batch.context_tokens)
        self.counts: Counter[str] = Counter()

    def trees(self, span: DocumentSpan) -> list[Tree]:
        """The trees of a span; none where nothing is to be learnt."""
        tokens, cut_points = self._cut_points(span)
        trees: list[Tree] = []
        while cut_points:
            count = self._fitting(cut_points)
            if count:
                base = self._base(cut_points[0])
                chosen = [c for cut_point in cut_points[:count] for c in _learnt(cut_point)]
                trunk = tokens[base : cut_points[count - 1].trunk + 1]
                trees += _tree(span.sample, trunk, chosen, base)
            else:
                trees += self._pieces(span.sample, tokens, cut_points[0])
            cut_points = cut_points[max(1, count) :]
        self._count(span, trees)
        return trees

    def _cut_points(self, span: DocumentSpan) -> tuple[Tokens, list[_CutPoint]]:
        """The tokens of context and originals, joined, and where in them each chunk lies."""
        parts, cut_points = [self._before(span)], []
        start, last = len(parts[0]), len(span.chunks) - 1
        for number, chunk in enumerate(span.chunks):
            first = span.first + number == 0
            end = self._eos if span.ends and number == last else self._none
            parts.append(self.texts((chunk.original, first)))
            found = tuple(self._candidates(chunk, first, end, start))
            cut_point = _cut_point(chunk, start, found)
            if not self._fitting([cut_point.without_room()]):
                kept = tuple(c for c in found if c.on_trunk)
                self.counts["too_long"] += sum(
                    c.kind in chunk.learn for c in found if c not in kept
                )
                cut_point = _cut_point(chunk, start, kept)
            cut_points.append(cut_point)
            start += len(parts[-1])
        return np.concatenate(parts), cut_points

    def _before(self, span: DocumentSpan) -> Tokens:
        """The last tokens of BOS and all text before the span."""
        parts, number, missing = list[Tokens](), span.first, self._context
        while number and missing > 0:
            number -= 1
            parts.append(self.texts((span.original(number), number == 0)))
            missing -= len(parts[-1])
        # Where the text is long enough, BOS is cut off again.
        joined: Tokens = np.concatenate([self._bos, *parts[::-1]])
        return joined[-self._context :]

    def _candidates(
        self, chunk: ScoredChunk, first: bool, end: Tokens, cut: int
    ) -> Iterator[Candidate]:
        """A candidate for every usable text of a chunk that has tokens."""
        original = self.texts((chunk.original, first))
        for kind, text in enumerate(chunk.texts):
            if text is None:
                self.counts["no_rewrite"] += kind in chunk.learn
                continue
            own = self.texts((text, first))
            tokens = np.concatenate([own, end]) if len(end) else own
            if len(tokens):
                same = own is original or np.array_equal(own, original)
                score, reference = chunk.scores[kind], chunk.references[kind]
                yield Candidate(chunk.id, kind, cut, tokens, same, score, reference)
            else:
                self.counts["no_tokens"] += kind in chunk.learn

    def _base(self, cut_point: _CutPoint) -> int:
        """Where the trunk of a tree begins whose first chunk is `cut_point`."""
        return max(0, cut_point.start - self._context)

    def _fitting(self, cut_points: Sequence[_CutPoint]) -> int:
        """How many of the first chunks make one tree; 0 when the first does not fit alone."""
        base, branches = self._base(cut_points[0]), 0
        for count, cut_point in enumerate(cut_points):
            branches += cut_point.branches
            if (
                cut_point.end - base > self._batch.max_seq_len
                or cut_point.trunk - base + branches > self._batch.sequence_tokens
            ):
                return count
        return len(cut_points)

    def _pieces(self, sample: int, tokens: Tokens, cut_point: _CutPoint) -> Iterator[Tree]:
        """The trees of a chunk too long for one: its original in pieces, each with context."""
        learnt = _learnt(cut_point)
        if cut_point.chunk.room[0]:
            self.counts["no_room"] += 1
            return
        at = 0
        while learnt and at < len(learnt[0].tokens):
            cut = cut_point.start + at
            base = max(0, cut - self._context)
            size = self._batch.max_seq_len + 1 - (cut - base)
            # A stored reference is that of the whole text.
            pieces = [
                replace(c, cut=cut, tokens=c.tokens[at : at + size], reference=nan) for c in learnt
            ]
            yield from _tree(sample, tokens[base : cut + size], pieces, base)
            at += size

    def _count(self, span: DocumentSpan, trees: Sequence[Tree]) -> None:
        laid = [(number, c) for number, tree in enumerate(trees) for c in tree.candidates]
        self.counts.update(self._kinds[c.kind] for _, c in laid)
        bare = {chunk.id for chunk in span.chunks if chunk.learn} - {c.id for _, c in laid}
        self.counts["cut_points"] += len({(number, c.cut) for number, c in laid}) + len(bare)
        self.counts["samples"] += 1
        self.counts["trees"] += len(trees)
        self.counts["split"] += len(trees) > 1
        self.counts["no_candidate"] += not trees
        self.counts["context_only"] += sum(not chunk.learn for chunk in span.chunks)


def _learnt(cut_point: _CutPoint) -> list[Candidate]:
    return [c for c in cut_point.candidates if c.kind in cut_point.chunk.learn]


def _cut_point(chunk: ScoredChunk, start: int, candidates: tuple[Candidate, ...]) -> _CutPoint:
    """A chunk whose tokens begin at `start` of its span, with what it needs of a tree."""
    count, tokens = chunk.room
    on_trunk, longest, branches = 0, tokens, count * tokens
    for candidate in candidates:
        size = len(candidate.tokens)
        longest = max(longest, size)
        if candidate.on_trunk:
            on_trunk = max(on_trunk, size)
        else:
            branches += size
    return _CutPoint(chunk, start, candidates, start + on_trunk - 1, start + longest - 1, branches)


def _tree(sample: int, trunk: Tokens, candidates: Sequence[Candidate], base: int) -> list[Tree]:
    """The tree whose trunk begins at `base` of the span's tokens; none without candidates."""
    moved = tuple(replace(c, cut=c.cut - base) if base else c for c in candidates)
    return [Tree(sample, trunk, moved)] if moved else []
